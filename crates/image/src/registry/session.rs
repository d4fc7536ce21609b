//! Requests about one repository on one host.
//!
//! A session starts without authorization; the first 401 says how to get it, and what was got is used from then on.
//! A second 401 is an answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hull_oci::{Digest, Reference};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::{self, Challenge};
use super::failure::{BODY_LIMIT, Failure, Refusal};
use super::hosts::Host;
use super::tls;
use crate::error::{Error, Result};
use crate::manifest::{DOCUMENT_LIMIT, media_type};
use crate::settings::{Auth, Proxies, Settings};
use crate::store::check_document_size;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a byte for so long, a connection counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;
const MOST_TAGS: usize = 100_000;

/// What a session may do with its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// Read it.
    Pull(&'a Reference),
    /// Read and write it.
    Push(&'a Reference),
    /// Only see who we are.
    Login,
}

/// A client of one repository.
pub(crate) struct Session {
    http: reqwest::Client,
    pub(super) host: Host,
    repository: String,
    scopes: Vec<String>,
    auth: Auth,
    /// `Authorization` headers by what they are for (scopes, joined).
    allowed: Mutex<HashMap<String, HeaderValue>>,
    identity: Mutex<Option<String>>,
}

/// A request, which may have to be sent more than once.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Makes the body; each sending needs a new one.
    pub(super) body: Option<&'a (dyn Fn() -> reqwest::Body + Sync)>,
    /// Scopes beside the session's own.
    pub(super) more_scopes: Vec<String>,
}

impl Request<'_> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, more_scopes: Vec::new() }
    }
}

/// A manifest or index as it came.
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

/// How we call ourselves, and whom we ask for: as Docker's daemon tells it, with what would end a comment escaped.
fn agent(client: &str) -> String {
    let own = concat!("hull/", env!("CARGO_PKG_VERSION"));
    if client.is_empty() || client.chars().any(|letter| !matches!(letter, ' '..='~')) {
        return own.to_owned();
    }
    let mut agent = format!("{own} UpstreamClient(");
    for letter in client.chars() {
        if matches!(letter, '(' | ')' | ';' | '\\') {
            agent.push('\\');
        }
        agent.push(letter);
    }
    agent + ")"
}

fn with_proxies(
    mut http: reqwest::ClientBuilder,
    proxies: &Proxies,
) -> std::result::Result<reqwest::ClientBuilder, reqwest::Error> {
    let except = || reqwest::NoProxy::from_string(proxies.except.as_deref().unwrap_or_default());
    if let Some(url) = &proxies.http {
        http = http.proxy(reqwest::Proxy::http(url)?.no_proxy(except()));
    }
    if let Some(url) = &proxies.https {
        http = http.proxy(reqwest::Proxy::https(url)?.no_proxy(except()));
    }
    Ok(http)
}

impl Session {
    /// A session with the first host that answers at all.
    pub(crate) async fn open(
        settings: &Settings,
        hosts: Vec<Host>,
        target: Target<'_>,
        auth: &Auth,
    ) -> std::result::Result<Self, Failure> {
        let mut failure = Failure::Local(Error::Invalid("no registry host".to_owned()));
        for host in hosts {
            let session = Self::new(settings, host, target, auth.clone())?;
            match session.ping().await {
                Ok(()) => return Ok(session),
                Err(error) if error.is_unreachable() => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    fn new(settings: &Settings, host: Host, target: Target<'_>, auth: Auth) -> Result<Self> {
        let mut http = reqwest::Client::builder();
        if host.is_loopback() {
            // No proxy leads to this machine; Go's clients have the same rule.
            http = http.no_proxy();
        } else if let Some(proxies) = &settings.proxies {
            http = with_proxies(http.no_proxy(), proxies)
                .map_err(|error| Error::System(format!("set up the proxy: {error}")))?;
        }
        let http = http
            .tls_backend_preconfigured(tls::client(settings, &host)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(agent(&auth.client))
            .build()
            .map_err(|error| Error::System(format!("set up HTTP: {error}")))?;
        let (repository, scopes) = match target {
            Target::Pull(name) => (name.path().to_owned(), vec![format!("repository:{}:pull", name.path())]),
            Target::Push(name) => {
                (name.path().to_owned(), vec![format!("repository:{}:pull,push", name.path())])
            }
            Target::Login => (String::new(), Vec::new()),
        };
        let auth = match host.mirror {
            true => Auth { client: auth.client, ..Auth::default() },
            false => auth,
        };
        Ok(Self {
            http,
            host,
            repository,
            scopes,
            auth,
            allowed: Mutex::default(),
            identity: Mutex::default(),
        })
    }

    /// Whether there is a registry. That it wants to know who asks, is an answer.
    async fn ping(&self) -> std::result::Result<(), Failure> {
        let url = self.host.url("v2/")?;
        let sent = self.http.get(url.clone()).send().await;
        let answer = sent.map_err(|error| Failure::broken("GET", &url, &error))?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::UNAUTHORIZED => Ok(()),
            _ => Err(refusal("GET", &url, answer).await),
        }
    }

    /// Whether the credentials are good; what may stand for the password, if the registry gives such.
    pub(crate) async fn login(&self) -> std::result::Result<Option<String>, Failure> {
        let url = self.host.url("v2/")?;
        let answer = self.send(Request::new(Method::GET, url.clone())).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                let text = format!("login attempt to {url} failed with status: {}", answer.status());
                return Err(Error::Unauthorized(text).into());
            }
            _ => return Err(refusal("GET", &url, answer).await),
        }
        Ok(self.identity.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// A manifest or index, by tag or digest.
    pub(crate) async fn manifest(&self, tag_or_digest: &str) -> std::result::Result<Fetched, Failure> {
        let accepted = [
            media_type::OCI_INDEX,
            media_type::OCI_MANIFEST,
            media_type::DOCKER_INDEX,
            media_type::DOCKER_MANIFEST,
        ];
        let mut request = Request::new(Method::GET, self.url(&format!("manifests/{tag_or_digest}"))?);
        for media_type in accepted {
            request.headers.append(ACCEPT, HeaderValue::from_static(media_type));
        }
        let answer = self.expect(request, &[StatusCode::OK]).await?;
        let media_type =
            answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Fetched { bytes: self.document(answer).await?, media_type })
    }

    /// A configuration.
    pub(crate) async fn config(&self, digest: &Digest) -> std::result::Result<Vec<u8>, Failure> {
        let answer = self.blob(digest, 0).await?;
        self.document(answer).await
    }

    async fn document(&self, answer: Response) -> std::result::Result<Vec<u8>, Failure> {
        check_document_size(answer.content_length().unwrap_or(0))?;
        let limit = usize::try_from(DOCUMENT_LIMIT).unwrap_or(usize::MAX);
        bounded_body(answer, limit).await
    }

    /// A blob's content, from `offset` on; 200 instead of 206 means that all of it comes.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> std::result::Result<Response, Failure> {
        let mut request = Request::new(Method::GET, self.url(&format!("blobs/{digest}"))?);
        if offset > 0 {
            request.headers.insert(RANGE, header(&format!("bytes={offset}-"))?);
        }
        self.expect(request, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT]).await
    }

    /// The repository's tags.
    pub(crate) async fn tags(&self) -> std::result::Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut next = Some(self.url("tags/list")?);
        while let Some(url) = next {
            let answer = self.expect(Request::new(Method::GET, url.clone()), &[StatusCode::OK]).await?;
            next = next_page(answer.headers(), &url);
            let body = self.document(answer).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| Error::Invalid(format!("invalid list of tags: {error}")))?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() || tags.len() > MOST_TAGS {
                break;
            }
            tags.extend(page);
        }
        Ok(tags)
    }

    /// What stands at a URL that is no registry's.
    pub(crate) async fn download(settings: &Settings, url: Url) -> std::result::Result<Response, Failure> {
        let session = Self::new(settings, Host::of_url(&url), Target::Login, Auth::default())?;
        session.expect(Request::new(Method::GET, url), &[StatusCode::OK]).await
    }

    /// The address of something of the host's own.
    pub(crate) fn host_url(&self, path: &str) -> Result<Url> {
        self.host.url(path)
    }

    /// A document by its address.
    pub(crate) async fn get_document(&self, url: Url) -> std::result::Result<Vec<u8>, Failure> {
        let answer = self.expect(Request::new(Method::GET, url), &[StatusCode::OK]).await?;
        self.document(answer).await
    }

    /// The address of something of the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.host.url(&format!("v2/{}/{path}", self.repository))
    }

    /// Sends a request and takes only those answers.
    pub(super) async fn expect(
        &self,
        request: Request<'_>,
        wanted: &[StatusCode],
    ) -> std::result::Result<Response, Failure> {
        let (method, url) = (request.method.to_string(), request.url.clone());
        let answer = self.send(request).await?;
        match wanted.contains(&answer.status()) {
            true => Ok(answer),
            false => Err(refusal(&method, &url, answer).await),
        }
    }

    /// Sends a request, gets authorization if it takes one, follows redirects.
    pub(super) async fn send(&self, request: Request<'_>) -> std::result::Result<Response, Failure> {
        let scopes: Vec<String> = self.scopes.iter().chain(&request.more_scopes).cloned().collect();
        let key = scopes.join(" ");
        let known = self.allowed.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let answer = self.once(&request, &request.url, known.as_ref()).await?;
        let answer = match answer.status() {
            StatusCode::UNAUTHORIZED => match auth::challenge(answer.headers()) {
                Some(challenge) => {
                    let allowed = self.authorize(&request, challenge, &scopes).await?;
                    self.allowed.lock().unwrap_or_else(PoisonError::into_inner).insert(key, allowed.clone());
                    self.once(&request, &request.url, Some(&allowed)).await?
                }
                None => answer,
            },
            _ => answer,
        };
        match request.method {
            Method::GET | Method::HEAD => self.redirected(&request, answer).await,
            _ => Ok(answer),
        }
    }

    /// Answers a challenge.
    async fn authorize(
        &self,
        request: &Request<'_>,
        challenge: Challenge,
        scopes: &[String],
    ) -> std::result::Result<HeaderValue, Failure> {
        let value = match challenge {
            Challenge::Basic => {
                let plain = self.host.base.scheme() == "http" && !self.host.insecure;
                let basic = auth::basic(&self.auth).filter(|_| !plain);
                basic.ok_or_else(|| Failure::no_credentials(request.method.as_str(), &request.url))?
            }
            Challenge::Bearer { .. } if !self.auth.registry_token.is_empty() => {
                format!("Bearer {}", self.auth.registry_token)
            }
            Challenge::Bearer { realm, service, .. } => {
                let plain = self.host.insecure;
                let granted = auth::token(&self.http, (&realm, &service), scopes, &self.auth, plain).await?;
                *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = granted.identity;
                granted.value
            }
        };
        let mut value = header(&value)?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn once(
        &self,
        request: &Request<'_>,
        url: &Url,
        allowed: Option<&HeaderValue>,
    ) -> std::result::Result<Response, Failure> {
        let mut builder =
            self.http.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(allowed) = allowed {
            builder = builder.header(AUTHORIZATION, allowed.clone());
        }
        if let Some(body) = request.body {
            builder = builder.body(body());
        }
        builder.send().await.map_err(|error| Failure::broken(request.method.as_str(), url, &error))
    }

    /// Follows redirects: to a storage service that has the blobs, most often. Only our own host gets credentials,
    /// and nobody leads us out of TLS.
    async fn redirected(
        &self,
        request: &Request<'_>,
        answer: Response,
    ) -> std::result::Result<Response, Failure> {
        let mut answer = answer;
        let mut url = request.url.clone();
        for _ in 0..MOST_REDIRECTS {
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let Some(location) = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
                return Ok(answer);
            };
            let next = url
                .join(location)
                .map_err(|error| Error::Invalid(format!("redirect to {location:?}: {error}")))?;
            let plain = next.scheme() == "http" && (url.scheme() == "http" || self.host.insecure);
            if next.scheme() != "https" && !plain {
                return Err(Error::Invalid(format!("refusing a redirect of {url} away from TLS")).into());
            }
            url = next;
            let allowed = match url.origin() == self.host.base.origin() {
                true => self.known(),
                false => None,
            };
            answer = self.once(request, &url, allowed.as_ref()).await?;
        }
        Err(Error::Invalid(format!("more than {MOST_REDIRECTS} redirects of {}", request.url)).into())
    }

    fn known(&self) -> Option<HeaderValue> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).get(&self.scopes.join(" ")).cloned()
    }
}

/// The next page of a list, on the same host.
fn next_page(headers: &HeaderMap, url: &Url) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
    let next = url.join(target).ok()?;
    (relation.contains("next") && next.origin() == url.origin()).then_some(next)
}

/// An answer that says no, with its reason.
pub(super) async fn refusal(method: &str, url: &Url, answer: Response) -> Failure {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED
        && let Some(Challenge::Bearer { error, .. }) = auth::challenge(answer.headers())
        && let Some(refusal) = Refusal::challenged(method, url, &error)
    {
        return Failure::Refused(refusal);
    }
    match bounded_body(answer, BODY_LIMIT).await {
        Ok(body) => Failure::Refused(Refusal::new(method, url, status, &body)),
        Err(failure) => failure,
    }
}

/// A body of at most `limit` bytes.
pub(super) async fn bounded_body(
    mut answer: Response,
    limit: usize,
) -> std::result::Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        let chunk = answer.chunk().await.map_err(|error| Failure::broken("GET", answer.url(), &error))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > limit {
            let text = format!(
                "answer of {} is larger than {limit} bytes",
                answer.url().host_str().unwrap_or_default()
            );
            return Err(Error::Invalid(text).into());
        }
        body.extend_from_slice(&chunk);
    }
}

pub(super) fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::Invalid("text that cannot be in a header of HTTP".to_owned()))
}

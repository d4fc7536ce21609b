//! What a registry says of an image that is not fetched, and which images it has.

use std::io;

use futures_util::stream;
use hull_oci::{Digest, Reference};
use reqwest::Url;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document, PlatformFields};
use crate::registry::{Failure, Host, Session, Target};
use crate::settings::{Auth, Settings};
use crate::store::verify;

/// Where Docker Hub's images are searched.
const HUB_SEARCH: &str = "index.docker.io";

/// What a name stands for in its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// What it is for, in its order.
    pub platforms: Vec<PlatformFields>,
}

/// Asks for the manifest or index of `name`: mirrors first, then the registry itself.
pub(crate) async fn inspect(settings: &Settings, name: &Reference, auth: &Auth) -> Result<Remote> {
    let name = name.clone().with_default_tag();
    let hosts = Host::for_pull(settings, &name).await?;
    let mut failure = Failure::Local(Error::Invalid("no registry host".to_owned()));
    for hosts in hosts.chunk_by(|one, next| !one.mirror && !next.mirror) {
        let found = match Session::open(settings, hosts.to_vec(), Target::Pull(&name), auth).await {
            Ok(session) => ask(&session, &name).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(remote) => return Ok(remote),
            Err(error) => failure = error,
        }
    }
    Err(failure.into_error())
}

async fn ask(session: &Session, name: &Reference) -> std::result::Result<Remote, Failure> {
    let wanted = name.digest().map(Digest::to_string).or(name.tag().map(str::to_owned)).unwrap_or_default();
    let fetched = session.manifest(&wanted).await?;
    let digest = match name.digest() {
        Some(digest) => {
            verify("manifest", &fetched.bytes, digest)?;
            digest.clone()
        }
        None => Digest::sha256(&fetched.bytes),
    };
    let document = Document::parse(&fetched.bytes, &fetched.media_type)?;
    let own = match &document {
        Document::Manifest(manifest) => manifest.media_type.as_str(),
        Document::Index(index) => index.media_type.as_str(),
    };
    let media_type = if own.is_empty() { fetched.media_type.as_str() } else { own };
    let descriptor = Descriptor::new(media_type, digest, fetched.bytes.len() as u64);
    let platforms = match document {
        Document::Index(index) => index.manifests.into_iter().filter_map(|entry| entry.platform).collect(),
        Document::Manifest(manifest) => {
            let config = session.config(&manifest.config.digest).await?;
            verify("image config", &config, &manifest.config.digest)?;
            // Other artefacts than images have no platform, and that is no error.
            serde_json::from_slice::<PlatformFields>(&config).into_iter().collect()
        }
    };
    Ok(Remote { descriptor, platforms })
}

/// Asks a registry for repositories; the answer is the registry's, as JSON. `term` may begin with the registry.
pub(crate) async fn search(settings: &Settings, term: &str, limit: u64, auth: &Auth) -> Result<Vec<u8>> {
    let (domain, term) = match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB_SEARCH, term),
    };
    let domain = if domain == "docker.io" { HUB_SEARCH } else { domain };
    // Docker Hub's own images are searched without their folder.
    let term = if domain == HUB_SEARCH { term.strip_prefix("library/").unwrap_or(term) } else { term };
    let hosts = Host::for_push(settings, domain).await?;
    let found = match Session::open(settings, hosts, Target::Login, auth).await {
        Ok(session) => session.search(term, limit).await,
        Err(failure) => Err(failure),
    };
    found.map_err(Failure::into_error)
}

/// What stands at a URL, as it comes; without a scheme it is `http`.
pub(crate) async fn download(
    settings: &Settings,
    url: &str,
) -> Result<impl AsyncRead + Send + Unpin + 'static + use<>> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let parsed = Url::parse(&whole).map_err(|error| Error::Invalid(format!("parse {whole:?}: {error}")))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        let scheme = parsed.scheme();
        return Err(Error::Invalid(format!("Get {whole:?}: unsupported protocol scheme {scheme:?}")));
    }
    let answer = Session::download(settings, parsed).await.map_err(Failure::into_error)?;
    let pieces = stream::unfold(answer, |mut answer| async move {
        let piece = answer.chunk().await.map_err(io::Error::other).transpose()?;
        Some((piece, answer))
    });
    Ok(StreamReader::new(Box::pin(pieces)))
}

impl Session {
    async fn search(&self, term: &str, limit: u64) -> std::result::Result<Vec<u8>, Failure> {
        let mut url = self.host_url("v1/search")?;
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        self.get_document(url).await
    }
}

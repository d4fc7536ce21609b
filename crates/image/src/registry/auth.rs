//! Authentication (RFC 7235, and the token servers of the distribution specification): reading challenges, asking
//! for tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::failure::{BODY_LIMIT, Failure, Refusal};
use super::session::bounded_body;
use crate::error::Error;
use crate::settings::Auth;

/// What we call ourselves to token servers.
const CLIENT: &str = "hull";

/// A registry's wish to know who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        /// The token server.
        realm: String,
        /// Whom the token is for.
        service: String,
        /// Why the last token was refused, if it was.
        error: String,
    },
}

/// The strongest challenge of an answer.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(reqwest::header::WWW_AUTHENTICATE);
    let parsed: Vec<Challenge> = values.iter().filter_map(|value| parse(value.to_str().ok()?)).collect();
    let bearer = parsed.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(parsed.first()).cloned()
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let parameters = parameters(rest);
            let get = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            Some(Challenge::Bearer { realm: get("realm"), service: get("service"), error: get("error") })
        }
        _ => None,
    }
}

/// `name="value", name=value`; values may have commas and escaped quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = next;
    }
    found
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// `Basic …`, if there is a user name.
pub(super) fn basic(auth: &Auth) -> Option<String> {
    let plain = format!("{}:{}", auth.username, auth.password);
    (!auth.username.is_empty()).then(|| format!("Basic {}", STANDARD.encode(plain)))
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
}

/// What a token server gave.
pub(super) struct Granted {
    /// The `Authorization` header's value.
    pub(super) value: String,
    /// What may stand for the password from now on, where the server gives such.
    pub(super) identity: Option<String>,
}

/// Asks a token server for `Bearer …`. The credentials go there only by TLS, or where `plain` allows otherwise.
pub(super) async fn token(
    http: &reqwest::Client,
    challenge: (&str, &str),
    scopes: &[String],
    auth: &Auth,
    plain: bool,
) -> Result<Granted, Failure> {
    let (realm, service) = challenge;
    let mut url = Url::parse(realm).map_err(|error| invalid_realm(realm, &error.to_string()))?;
    if url.scheme() != "https" && !(plain && url.scheme() == "http") {
        return Err(invalid_realm(realm, "credentials are not sent without TLS"));
    }
    let request = match auth.identity_token.as_str() {
        "" => {
            with_query(&mut url, service, scopes, auth);
            let request = http.get(url.clone());
            match basic(auth) {
                Some(basic) => request.header(reqwest::header::AUTHORIZATION, basic),
                None => request,
            }
        }
        refresh => {
            let form = form(&[
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", CLIENT),
                ("scope", &scopes.join(" ")),
                ("refresh_token", refresh),
            ]);
            let kind = "application/x-www-form-urlencoded";
            http.post(url.clone()).header(reqwest::header::CONTENT_TYPE, kind).body(form)
        }
    };
    let answer = request.send().await.map_err(|error| Failure::broken("GET", &url, &error))?;
    let status = answer.status();
    let body = bounded_body(answer, BODY_LIMIT).await?;
    if !status.is_success() {
        return Err(Failure::Refused(Refusal::new("GET", &url, status, &body)));
    }
    let Token { token, access_token, refresh_token } =
        serde_json::from_slice(&body).map_err(|error| invalid_realm(realm, &error.to_string()))?;
    match [token, access_token].into_iter().find(|token| !token.is_empty()) {
        Some(token) => Ok(Granted {
            value: format!("Bearer {token}"),
            identity: (!refresh_token.is_empty()).then_some(refresh_token),
        }),
        None => Err(invalid_realm(realm, "authorization server did not include a token in the response")),
    }
}

fn with_query(url: &mut Url, service: &str, scopes: &[String], auth: &Auth) {
    let mut query = url.query_pairs_mut();
    if !service.is_empty() {
        query.append_pair("service", service);
    }
    query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
    if !auth.username.is_empty() {
        query.append_pair("account", &auth.username);
    }
    if scopes.is_empty() {
        // A login: the password need not be kept if there is something to stand for it.
        query.append_pair("offline_token", "true").append_pair("client_id", CLIENT);
    }
}

/// A form's body; `Url` knows how to write one.
fn form(pairs: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

fn invalid_realm(realm: &str, why: &str) -> Failure {
    Failure::Local(Error::Unavailable(format!("token server {realm:?}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(text: &str) -> (String, String, String) {
        match parse(text) {
            Some(Challenge::Bearer { realm, service, error }) => (realm, service, error),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_challenges() {
        let (realm, service, error) = bearer(
            r#"Bearer realm="https://auth.example/token",service="a, \"b\"", error=insufficient_scope"#,
        );
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service, "a, \"b\"");
        assert_eq!(error, "insufficient_scope");
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("Negotiate"), None);
        assert_eq!(bearer("bearer realm=\"open").0, "open");
        assert_eq!(bearer("Bearer ="), Default::default());
    }

    #[tokio::test]
    async fn credentials_need_tls() {
        let auth = Auth { username: "u".to_owned(), password: "p".to_owned(), ..Auth::default() };
        for (realm, plain) in [("http://192.0.2.1/t", false), ("ftp://192.0.2.1/t", true), ("nonsense", true)]
        {
            let http = reqwest::Client::builder().tls_backend_preconfigured(none()).build().unwrap();
            let refused = token(&http, (realm, ""), &[], &auth, plain).await;
            assert!(matches!(refused, Err(Failure::Local(_))), "{realm}");
        }
    }

    fn none() -> rustls::ClientConfig {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        builder.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    }
}

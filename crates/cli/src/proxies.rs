//! `proxies` of Docker's `config.json`: variables that tell the programs in new containers of the user's proxies.

use hull_api::wire::container::ContainerCreateRequest;
use serde_json::{Map, Value};

use crate::complain::Complaint;
use crate::credentials;
use crate::session::Session;

/// The keys, and the variables that they become: each in both cases, since programs read either.
const VARIABLES: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

/// The request with the variables that it does not set itself.
pub(crate) fn added(
    session: &Session,
    request: &ContainerCreateRequest,
) -> Result<ContainerCreateRequest, Complaint> {
    let mut request = request.clone();
    let file = credentials::read(&session.settings)?;
    let environment = request.config.env.get_or_insert_default();
    environment.extend(missing(&file, &session.host().to_string(), environment));
    if environment.is_empty() {
        request.config.env = None;
    }
    Ok(request)
}

/// The variables of the file for this daemon that `environment` does not name.
fn missing(file: &Map<String, Value>, host: &str, environment: &[String]) -> Vec<String> {
    let Some(proxies) = file.get("proxies") else { return Vec::new() };
    let Some(proxy) = proxies.get(host).or_else(|| proxies.get("default")) else { return Vec::new() };
    let mut variables = Vec::new();
    for (key, name) in VARIABLES {
        let Some(value) = proxy.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) else {
            continue;
        };
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            let named = |variable: &String| variable.split('=').next() == Some(&name);
            if !environment.iter().any(named) {
                variables.push(format!("{name}={value}"));
            }
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_is_not_replaced() {
        let text = r#"{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"},
            "tcp://far:2375": {"allProxy": "http://q:2"}}}"#;
        let file: Map<String, Value> = serde_json::from_str(text).unwrap();
        let own = ["http_proxy=".to_owned(), "NO_PROXY".to_owned()];
        assert_eq!(missing(&file, "unix:///x", &own), ["HTTP_PROXY=http://p:1", "no_proxy=x"]);
        assert_eq!(missing(&file, "tcp://far:2375", &[]), ["ALL_PROXY=http://q:2", "all_proxy=http://q:2"]);
        assert!(missing(&Map::new(), "unix:///x", &[]).is_empty());
    }
}

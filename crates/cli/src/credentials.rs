//! Credentials for registries, in Docker's `config.json`: in its `auths`, or in a helper program that it names.

use crate::complain::Complaint;
use crate::values::environment::open_failed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hull_api::wire::system::AuthConfig;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The name under which Docker Hub's credentials are kept.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// The key of a registry's credentials.
pub(crate) fn key(registry: &str) -> &str {
    match registry {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB,
        other => other,
    }
}

/// What is kept for a registry; nothing if there is no file or no entry.
pub(crate) fn lookup(settings: &Path, registry: &str) -> Result<AuthConfig, Complaint> {
    let key = key(registry);
    let file = read(settings)?;
    if let Some(helper) = helper(&file, key) {
        return ask(helper, key);
    }
    let Some(entry) = file.get("auths").and_then(Value::as_object).and_then(|auths| entry(auths, key)) else {
        return Ok(AuthConfig::default());
    };
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut auth = AuthConfig {
        identitytoken: text("identitytoken"),
        serveraddress: key.to_owned(),
        ..AuthConfig::default()
    };
    let decoded = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((username, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        auth.username = username.to_owned();
        auth.password = password.trim_end_matches('\0').to_owned();
    }
    Ok(auth)
}

/// Keeps credentials in `config.json`, for the user's eyes only.
pub(crate) fn store(settings: &Path, auth: &AuthConfig) -> Result<(), Complaint> {
    let mut file = read(settings)?;
    let entry = match auth.identitytoken.is_empty() {
        true => json!({"auth": STANDARD.encode(format!("{}:{}", auth.username, auth.password))}),
        false => json!({"identitytoken": auth.identitytoken}),
    };
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    if let Some(auths) = auths.as_object_mut() {
        auths.insert(auth.serveraddress.clone(), entry);
    }
    write(settings, &file)
}

/// Forgets a registry's credentials; false if there were none.
pub(crate) fn forget(settings: &Path, registry: &str) -> Result<bool, Complaint> {
    let mut file = read(settings)?;
    let removed =
        file.get_mut("auths").and_then(Value::as_object_mut).and_then(|auths| auths.remove(key(registry)));
    if removed.is_some() {
        write(settings, &file)?;
    }
    Ok(removed.is_some())
}

/// The entry of a registry, under its name or a URL of it.
fn entry<'a>(auths: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let host = |name: &'a str| {
        let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
        name.split('/').next().unwrap_or(name)
    };
    auths.get(key).or_else(|| auths.iter().find(|(name, _)| host(name) == key).map(|(_, entry)| entry))
}

fn helper<'a>(file: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let own = file.get("credHelpers").and_then(|helpers| helpers.get(key));
    own.or_else(|| file.get("credsStore")).and_then(Value::as_str).filter(|name| !name.is_empty())
}

/// Asks `docker-credential-NAME get`.
fn ask(helper: &str, key: &str) -> Result<AuthConfig, Complaint> {
    let program = format!("docker-credential-{helper}");
    let failed = |reason: String| Complaint::new(format!("error getting credentials: {program}: {reason}"));
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|reason| failed(reason.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return match text.contains("credentials not found") {
            true => Ok(AuthConfig::default()),
            false => Err(failed(text.trim().to_owned())),
        };
    }
    let answer: Value = serde_json::from_str(&text).map_err(|reason| failed(reason.to_string()))?;
    let field = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let (username, secret) = (field("Username"), field("Secret"));
    let auth = AuthConfig { serveraddress: key.to_owned(), ..AuthConfig::default() };
    Ok(match username == "<token>" {
        true => AuthConfig { identitytoken: secret, ..auth },
        false => AuthConfig { username, password: secret, ..auth },
    })
}

/// The whole file; nothing, if there is none.
pub(crate) fn read(settings: &Path) -> Result<Map<String, Value>, Complaint> {
    let path = settings.join("config.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|reason| Complaint::new(format!("loading config file: {}: {reason}", path.display()))),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(reason) => Err(Complaint::new(open_failed(&path, &reason))),
    }
}

fn write(settings: &Path, file: &Map<String, Value>) -> Result<(), Complaint> {
    fs::create_dir_all(settings)?;
    let path = settings.join("config.json");
    let beside = settings.join(format!(".config.json.{}", std::process::id()));
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    serde_json::to_writer_pretty(&mut out, file).map_err(|reason| Complaint::new(reason.to_string()))?;
    fs::rename(&beside, &path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(registry: &str, password: &str) -> AuthConfig {
        AuthConfig {
            username: "u".to_owned(),
            password: password.to_owned(),
            serveraddress: key(registry).to_owned(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn credentials_are_kept_found_and_forgotten() {
        let directory = std::env::temp_dir().join(format!("hull-credentials-{}", std::process::id()));
        assert_eq!(lookup(&directory, "docker.io").unwrap(), AuthConfig::default());
        store(&directory, &auth("docker.io", "p:w")).unwrap();
        store(&directory, &auth("localhost:5000", "x")).unwrap();
        assert_eq!(lookup(&directory, "docker.io").unwrap(), auth("docker.io", "p:w"));
        assert_eq!(lookup(&directory, "localhost:5000").unwrap().password, "x");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(directory.join("config.json")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        assert!(forget(&directory, "docker.io").unwrap());
        assert!(!forget(&directory, "docker.io").unwrap());
        assert_eq!(lookup(&directory, "docker.io").unwrap(), AuthConfig::default());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn an_entry_may_be_a_url() {
        let auths = json!({"https://reg.example/v2/": {"auth": "x"}});
        let auths = auths.as_object().unwrap();
        assert!(entry(auths, "reg.example").is_some());
        assert!(entry(auths, "other.example").is_none());
    }
}

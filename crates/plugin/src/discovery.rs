//! Where plugins are: sockets, and files that say where they listen.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Result};

/// Where a plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// `host[:port]` behind TLS.
    Tls(String, Tls),
}

/// Whom to trust behind TLS, and who we are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    /// Takes any certificate.
    #[serde(rename = "InsecureSkipVerify")]
    pub(crate) trusts_anybody: bool,
    /// Certificates of authorities; the system's if empty.
    #[serde(rename = "CAFile")]
    pub(crate) authorities: PathBuf,
    /// Our own certificate, if one is wanted.
    #[serde(rename = "CertFile")]
    pub(crate) certificate: PathBuf,
    /// Its key.
    #[serde(rename = "KeyFile")]
    pub(crate) key: PathBuf,
}

impl Tls {
    /// As Docker's: nobody is checked where no authority is named.
    fn anybody() -> Self {
        Self { trusts_anybody: true, ..Self::default() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    addr: String,
    #[serde(rename = "TLSConfig")]
    tls: Option<Tls>,
}

/// Whether a plugin may have that name: one with a slash would lead out of the directories.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

/// Where the plugin of that name listens.
pub(crate) fn find(directories: &[PathBuf], name: &str) -> Result<Address> {
    let absent = || Error::NotFound(name.to_owned());
    if !is_name(name) {
        return Err(absent());
    }
    for directory in directories {
        let places = |extension: &str| {
            let file = format!("{name}.{extension}");
            [directory.join(&file), directory.join(name).join(file)]
        };
        if let Some(socket) = places("sock").into_iter().find(|path| is_socket(path)) {
            return Ok(Address::Unix(socket));
        }
        if let Some(file) = places("spec").into_iter().find(|path| path.is_file()) {
            return address(read(&file)?.trim(), Tls::anybody());
        }
        if let Some(file) = places("json").into_iter().find(|path| path.is_file()) {
            let description: Description = serde_json::from_str(&read(&file)?)
                .map_err(|why| Error::Unusable(format!("read {}: {why}", file.display())))?;
            let tls = description.tls.map_or_else(Tls::default, |tls| {
                match tls.authorities.as_os_str().is_empty() {
                    true => Tls { trusts_anybody: true, ..tls },
                    false => tls,
                }
            });
            return address(&description.addr, tls);
        }
    }
    Err(absent())
}

/// The names of all plugins that there may be.
pub(crate) fn names(directories: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten() {
        let path = entry.path();
        let (Some(stem), extension) = (path.file_stem().and_then(|stem| stem.to_str()), path.extension())
        else {
            continue;
        };
        let is_plugin = match extension.and_then(|extension| extension.to_str()) {
            Some("sock") => is_socket(&path),
            Some("spec" | "json") => path.is_file(),
            _ => ["sock", "spec", "json"].iter().any(|end| path.join(format!("{stem}.{end}")).exists()),
        };
        if is_plugin {
            names.insert(stem.to_owned());
        }
    }
    names
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|why| Error::Unusable(format!("read {}: {why}", path.display())))
}

fn address(text: &str, tls: Tls) -> Result<Address> {
    let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    match text.split_once("://") {
        Some(("unix", path)) => Ok(Address::Unix(path.into())),
        Some(("tcp" | "http", rest)) => Ok(Address::Tcp(host(rest))),
        Some(("https", rest)) => Ok(Address::Tls(host(rest), tls)),
        _ => Err(Error::Unusable("Unknown protocol".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_where_docker_finds_them() {
        let home = tempfile::tempdir().expect("directory");
        let (run, etc) = (home.path().join("run"), home.path().join("etc"));
        fs::create_dir_all(run.join("deep")).expect("mkdir");
        fs::create_dir(&etc).expect("mkdir");
        let socket = |path: PathBuf| std::os::unix::net::UnixListener::bind(path).expect("bind");
        let _listening = [socket(run.join("flat.sock")), socket(run.join("deep/deep.sock"))];
        fs::write(run.join("notes.sock"), "no socket").expect("write");
        fs::write(etc.join("far.spec"), "tcp://127.0.0.1:8080\n").expect("write");
        fs::write(etc.join("told.json"), r#"{"Name": "told", "Addr": "unix:///x.sock"}"#).expect("write");
        fs::write(etc.join("odd.spec"), "nothing").expect("write");
        fs::write(etc.join("veiled.spec"), "https://there/plugin").expect("write");
        let described = [
            ("plain", r#"{"Addr": "https://there:8/"}"#),
            ("loose", r#"{"Addr": "https://there", "TLSConfig": {"CertFile": "/c", "KeyFile": "/k"}}"#),
            (
                "strict",
                r#"{"Addr": "https://there", "TLSConfig": {"CAFile": "/a", "InsecureSkipVerify": false}}"#,
            ),
        ];
        for (name, text) in described {
            fs::write(etc.join(name).with_extension("json"), text).expect("write");
        }
        let directories = [run.clone(), etc];
        let all: Vec<_> = names(&directories).into_iter().collect();
        assert_eq!(all, ["deep", "far", "flat", "loose", "odd", "plain", "strict", "told", "veiled"]);
        let find = |name: &str| find(&directories, name);
        assert_eq!(find("flat"), Ok(Address::Unix(run.join("flat.sock"))));
        assert_eq!(find("deep"), Ok(Address::Unix(run.join("deep/deep.sock"))));
        assert_eq!(find("far"), Ok(Address::Tcp("127.0.0.1:8080".into())));
        assert_eq!(find("told"), Ok(Address::Unix("/x.sock".into())));
        assert_eq!(find("odd"), Err(Error::Unusable("Unknown protocol".into())));
        let veiled = |host: &str, tls: Tls| Ok(Address::Tls(host.into(), tls));
        assert_eq!(find("veiled"), veiled("there", Tls::anybody()));
        assert_eq!(find("plain"), veiled("there:8", Tls::default()));
        let loose = Tls { certificate: "/c".into(), key: "/k".into(), ..Tls::anybody() };
        assert_eq!(find("loose"), veiled("there", loose));
        assert_eq!(find("strict"), veiled("there", Tls { authorities: "/a".into(), ..Tls::default() }));
        for absent in ["notes", "nobody", "../run/flat", ""] {
            assert_eq!(find(absent), Err(Error::NotFound(absent.into())));
        }
    }
}

//! `spec`: a sample `config.json`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, Parser};
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::{Global, switch};

/// A shell in the directory `rootfs`, with the mounts and restrictions that are usual.
const SAMPLE: &str = include_str!("spec.json");

pub(super) fn run(_: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut bundle, mut rootless) = (PathBuf::from("."), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('b') | Arg::Long("bundle") => bundle = parser.value()?.into(),
            Arg::Long("rootless") => rootless = switch(parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let sample = if rootless { for_user()? } else { SAMPLE.to_owned() };
    let path = bundle.join("config.json");
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(sample.as_bytes()));
    written.map_err(|e| Error::file("write", &path, e))?;
    Ok(ExitCode::SUCCESS)
}

/// The sample for an ordinary user: root of a user namespace in which he alone is, on the host's network, without limits.
fn for_user() -> Result<String> {
    let mut spec: Value = serde_json::from_str(SAMPLE).map_err(|e| Error::new(format!("the sample: {e}")))?;
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut spec["linux"];
    linux["uidMappings"] = map(rustix::process::geteuid().as_raw());
    linux["gidMappings"] = map(rustix::process::getegid().as_raw());
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        // Only who owns the network namespace may mount its sysfs, and with one id there is no group for terminals.
        mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|path| path.starts_with("/sys")));
        let options = ["rbind", "nosuid", "noexec", "nodev", "rro"];
        mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options }));
        for options in mounts.iter_mut().filter_map(|mount| mount["options"].as_array_mut()) {
            options.retain(|option| !option.as_str().is_some_and(|word| word.starts_with("gid=")));
        }
    }
    Ok(format!("{spec:#}\n"))
}

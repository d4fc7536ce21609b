//! `spec`: a sample `config.json`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

use super::Global;
use super::error::{Error, Result};

/// A shell in the directory `rootfs`, with the mounts and restrictions that are usual.
const SAMPLE: &str = include_str!("spec.json");

pub(super) fn run(_: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut bundle = PathBuf::from(".");
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('b') | Arg::Long("bundle") => bundle = parser.value()?.into(),
            Arg::Long("rootless") => return Err(Error::usage("--rootless is not supported yet")),
            other => return Err(other.unexpected().into()),
        }
    }
    let path = bundle.join("config.json");
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(SAMPLE.as_bytes()));
    written.map_err(|e| Error::file("write", &path, e))?;
    Ok(ExitCode::SUCCESS)
}

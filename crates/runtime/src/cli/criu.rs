//! What `checkpoint` and `restore` share: the options of criu on their command lines.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) use hull_runtime::criu::{Settings, check};
use lexopt::{Parser, ValueExt};

use super::error::{Error, Result};
use super::{Global, switch};

/// The options of both commands, for their help.
pub(super) const IMAGES: (&str, &str) = ("--image-path DIR", "the saved container (default: checkpoint)");
pub(super) const WORK: (&str, &str) =
    ("--work-path DIR", "where criu writes its log (default: the image path)");
pub(super) const TCP: (&str, &str) = ("--tcp-established", "also established TCP connections");
pub(super) const UNIX: (&str, &str) = ("--ext-unix-sk", "also unix sockets to processes outside");
pub(super) const SHELL: (&str, &str) = ("--shell-job", "also what belongs to the session of a shell outside");
pub(super) const LOCKS: (&str, &str) = ("--file-locks", "also file locks");
pub(super) const CGROUPS: (&str, &str) =
    ("--manage-cgroups-mode MODE", "soft, full or strict: what of the cgroup is restored (default: soft)");
pub(super) const EMPTY: (&str, &str) = ("--empty-ns network", "the network namespace without what is in it");
pub(super) const DEDUP: (&str, &str) = ("--auto-dedup", "keep memory once over several images");
pub(super) const REMAP: (&str, &str) = ("--link-remap", "also deleted files that have another name");

/// What is said to criu in the same words as to us.
const PASSED_ON: [&str; 6] =
    ["tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "link-remap"];

/// What both commands are told.
pub(super) struct Options {
    images: PathBuf,
    work: Option<PathBuf>,
    cgroups: String,
    words: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Self { images: "checkpoint".into(), work: None, cgroups: "soft".to_owned(), words: Vec::new() }
    }
}

impl Options {
    /// Takes the option `name` with its value.
    pub(super) fn take(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        match name {
            "image-path" => self.images = parser.value()?.into(),
            "work-path" => self.work = Some(parser.value()?.into()).filter(|path| path != Path::new("")),
            "manage-cgroups-mode" => self.cgroups = mode(&parser.value()?.string()?)?,
            "empty-ns" => match parser.value()?.to_str() {
                Some("network") => self.words.extend(["--empty-ns".into(), "net".into()]),
                _ => return Err(Error::usage("--empty-ns is for network only")),
            },
            "lazy-pages" | "page-server" | "status-fd" => {
                return Err(Error::usage(format!(
                    "--{name} is not supported: memory is saved to files, not sent"
                )));
            }
            name if PASSED_ON.contains(&name) => {
                if switch(parser)? {
                    self.words.push(format!("--{name}").into());
                }
            }
            name => return Err(Error::usage(format!("invalid option {name:?}"))),
        }
        Ok(())
    }

    /// Makes relative paths independent of where this process goes.
    pub(super) fn make_absolute(&mut self) -> Result<()> {
        for path in std::iter::once(&mut self.images).chain(&mut self.work) {
            *path = std::path::absolute(&*path).map_err(|e| Error::file("find", &*path, e))?;
        }
        Ok(())
    }

    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    /// What criu is to be told.
    pub(super) fn settings(&self, global: &Global) -> Settings {
        Settings {
            program: global.criu.clone(),
            images: self.images.clone(),
            work: self.work.clone(),
            cgroups: self.cgroups.clone(),
            words: self.words.clone(),
        }
    }
}

fn mode(word: &str) -> Result<String> {
    match word {
        "soft" | "full" | "strict" => Ok(word.to_owned()),
        "ignore" => Err(Error::usage(
            "--manage-cgroups-mode ignore is not supported: a container is kept by its cgroup",
        )),
        _ => Err(Error::usage(format!("invalid value for --manage-cgroups-mode: {word:?}"))),
    }
}

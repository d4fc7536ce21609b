//! Messages: to the user on standard error, and to the file that an engine reads.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::clock;

/// Where messages go, and in which form.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// `--log`.
    pub(crate) file: Option<PathBuf>,
    /// `--log-format json`: an object a line with `level`, `msg` and `time`, else `time=… level=… msg=…`.
    pub(crate) json: bool,
    /// `--debug`.
    pub(crate) debug: bool,
}

impl Log {
    /// Why the command failed: for the user, and for the engine.
    pub(crate) fn error(&self, message: &str) {
        match &self.file {
            None if self.json => say(&self.line("error", message)),
            _ => say(&format!("hull-runtime: {message}")),
        }
        self.append("error", message);
    }

    /// Something that was asked for and is left out. An engine shows its user what we print, so it goes there only
    /// where no file takes it.
    pub(crate) fn warning(&self, message: &str) {
        match &self.file {
            None if self.json => say(&self.line("warning", message)),
            None => say(&format!("hull-runtime: warning: {message}")),
            Some(_) => self.append("warning", message),
        }
    }

    /// For who asked with `--debug`.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            let message = message();
            match &self.file {
                None => say(&self.line("debug", &message)),
                Some(_) => self.append("debug", &message),
            }
        }
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = clock::now();
        match self.json {
            true => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
            false => format!("time={time:?} level={level} msg={message:?}"),
        }
    }

    fn append(&self, level: &str, message: &str) {
        let Some(path) = &self.file else { return };
        let line = self.line(level, message) + "\n";
        let file = OpenOptions::new().append(true).create(true).open(path);
        // One write, so that lines of several runtimes do not mix. Nobody is left to hear that it failed.
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

fn say(line: &str) {
    // Nobody is left to hear that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

//! How a command ends: with a status, or with a complaint on stderr and a status.

use crate::output;
use hull_api::client::Error;
use std::io;
use std::process::ExitCode;

/// The exit status of a command that did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u8);

/// Everything went well.
pub(crate) const DONE: Status = Status(0);

/// What a command ends with.
pub(crate) type Outcome = Result<Status, Complaint>;

/// What a command could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The lines for stderr; none if there is nothing to say.
    pub(crate) text: String,
    /// The exit status.
    pub(crate) status: u8,
    /// Whether the daemon said that the thing does not exist.
    pub(crate) not_found: bool,
}

impl Complaint {
    /// A complaint with the usual status, 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Complaint { text: text.into(), status: 1, not_found: false }
    }

    /// Ends with this status instead.
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Names the program, and where its flags are explained.
    pub(crate) fn hinted(self, command: &str) -> Self {
        let text = format!("hull: {}\n\nRun 'hull {command} --help' for more information", self.text);
        Complaint { text, ..self }
    }

    /// Whether an image is not there, which a pull may mend.
    pub(crate) fn is_missing_image(&self) -> bool {
        self.not_found && self.text.to_lowercase().contains("no such image")
    }

    /// Writes it down and gives the status.
    pub(crate) fn tell(&self) -> ExitCode {
        if !self.text.is_empty() {
            output::warn(&self.text);
        }
        ExitCode::from(self.status)
    }
}

impl From<Error> for Complaint {
    fn from(error: Error) -> Self {
        let not_found = error.status().is_some_and(|status| status.as_u16() == 404);
        Complaint { not_found, ..Complaint::new(error.to_string()) }
    }
}

impl From<io::Error> for Complaint {
    fn from(reason: io::Error) -> Self {
        match reason.kind() {
            // The reader of our output went away: there is nobody to tell.
            io::ErrorKind::BrokenPipe => Complaint::new("").with_status(128 + 13),
            _ => Complaint::new(reason.to_string()),
        }
    }
}

/// Does one thing for each name. Names that succeed are printed as they do; what failed is told at the end, and
/// the command ends with 1.
pub(crate) async fn for_each(
    names: &[String],
    mut act: impl AsyncFnMut(String) -> Result<(), Complaint>,
) -> Outcome {
    let mut failed = Vec::new();
    for name in names {
        match act(name.clone()).await {
            Ok(()) => output::line(name)?,
            Err(complaint) => failed.push(complaint.text),
        }
    }
    if failed.is_empty() { Ok(DONE) } else { Err(Complaint::new(failed.join("\n"))) }
}

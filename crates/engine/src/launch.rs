//! Why a program could not be started, in the words and with the exit code that Docker's users know.

use std::path::Path;

use hull_runtime::Failure;
use hull_shim::protocol::Answer;
use rustix::io::Errno;

use crate::{Error, Kind, supervisor};

/// The program is not there.
const NOT_FOUND: i32 = 127;
/// It is there, and cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// Something before the program failed.
const NOT_STARTED: i32 = 128;

/// A container or exec session that did not start.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// What the user is told.
    pub(crate) error: Error,
    /// The exit code it gets.
    pub(crate) code: i32,
}

impl NotStarted {
    /// A container whose start ended in this answer.
    pub(crate) fn container(answer: &Answer) -> Self {
        match answer {
            Answer::Failed(failure) => Self { error: start_error(failure), code: exit_code(failure) },
            answer => supervisor::unexpected(answer).into(),
        }
    }

    /// An exec session whose start ended in this answer.
    pub(crate) fn exec(answer: &Answer) -> Self {
        match answer {
            Answer::Failed(failure) if exit_code(failure) == NOT_FOUND => {
                Self { error: exec_error(failure), code: NOT_FOUND }
            }
            Answer::Failed(failure) => Self { error: exec_error(failure), code: NOT_EXECUTABLE },
            answer => Self { error: supervisor::unexpected(answer), code: NOT_EXECUTABLE },
        }
    }
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self { error, code: NOT_STARTED }
    }
}

fn exit_code(failure: &Failure) -> i32 {
    match failure.step.as_str() {
        "runtime" => exit_code_told(&failure.op),
        "exec" | "cwd" if failure.is(Errno::NOENT) => NOT_FOUND,
        "exec" | "cwd" => NOT_EXECUTABLE,
        _ => NOT_STARTED,
    }
}

/// Another program's words are all there is: what Docker looks for in them.
fn exit_code_told(words: &str) -> i32 {
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    match () {
        () if says(&[
            "executable file not found",
            "No such file or directory",
            "no such file or directory",
        ]) =>
        {
            NOT_FOUND
        }
        () if says(&["ermission denied", "s a directory", "exec format error", "Exec format error"]) => {
            NOT_EXECUTABLE
        }
        () => NOT_STARTED,
    }
}

fn start_error(failure: &Failure) -> Error {
    if failure.step == "log" {
        return crate::start::not_initialized(&failure.op);
    }
    // Only a part of an image is named by a path that begins nowhere.
    if failure.step == "mounts" && failure.op == "open" && is_relative(&failure.object) {
        let errno = Errno::from_raw_os_error(failure.errno);
        return crate::sources::no_part(Path::new(""), &failure.object, errno);
    }
    let message = match failure.step.as_str() {
        // Docker looks users up before the runtime has its say.
        "user" => failure.to_string(),
        "checkpoint" => format!(
            "failed to create task for container: failed to create shim task: OCI runtime restore failed: {failure}: \
             unknown"
        ),
        "runtime" => format!(
            "failed to create task for container: failed to create shim task: {}: unknown",
            failure.op
        ),
        _ => format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc \
             create failed: unable to start container process: error during container init: {failure}: unknown{}",
            hint(failure)
        ),
    };
    Error::new(kind(failure), message)
}

fn is_relative(path: &str) -> bool {
    !path.is_empty() && Path::new(path).is_relative()
}

/// What is most often the reason.
fn hint(failure: &Failure) -> &'static str {
    match failure.step.as_str() {
        "mounts" if failure.is(Errno::NOTDIR) => {
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path \
             exists and is the expected type"
        }
        _ => "",
    }
}

fn exec_error(failure: &Failure) -> Error {
    let message = match failure.step.as_str() {
        "user" => failure.to_string(),
        "runtime" => format!("{}: unknown", failure.op),
        _ => format!(
            "OCI runtime exec failed: exec failed: unable to start container process: {failure}: unknown"
        ),
    };
    Error::new(kind(failure), message)
}

/// What the user asked for is the user's to mend; everything else is the machine's fault.
fn kind(failure: &Failure) -> Kind {
    match exit_code(failure) {
        NOT_STARTED if failure.step == "mounts" && failure.is(Errno::NOTDIR) => Kind::Invalid,
        // Which switches there are, and which values they take, only the kernel knows.
        NOT_STARTED if ["sysctl", "user"].contains(&failure.step.as_str()) => Kind::Invalid,
        NOT_STARTED => Kind::System,
        _ => Kind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(step: &str, op: &str, object: &str, errno: Errno) -> Failure {
        let (step, op, object) = (step.into(), op.into(), object.into());
        Failure { step, op, object, errno: errno.raw_os_error() }
    }

    #[test]
    fn a_missing_program_is_127_and_says_so() {
        let missing = failure("exec", "lookup", "frob", Errno::NOENT);
        assert_eq!(exit_code(&missing), 127);
        let error = start_error(&missing);
        assert_eq!(error.kind, Kind::Invalid);
        assert!(
            error.message.ends_with(r#"exec: "frob": executable file not found in $PATH: unknown"#),
            "{error}"
        );
        let unknown = failure("user", "unable to find user", "frob", Errno::NOENT);
        assert_eq!((exit_code(&unknown), start_error(&unknown).kind), (128, Kind::Invalid));
        assert_eq!(exit_code(&failure("exec", "access", "/etc", Errno::ACCESS)), 126);
        assert_eq!(exit_code(&failure("mounts", "move_mount", "/proc", Errno::PERM)), 128);
        assert_eq!(start_error(&failure("mounts", "move_mount", "/proc", Errno::PERM)).kind, Kind::System);
    }

    #[test]
    fn a_part_that_is_none_is_said_in_dockers_words() {
        let message = |errno| start_error(&failure("mounts", "open", "sub/way", errno)).message;
        assert!(message(Errno::XDEV).starts_with("path concatenation escapes the base directory"));
        assert_eq!(
            message(Errno::NOENT),
            "cannot access path sub/way: lstat sub/way: no such file or directory"
        );
        let host = start_error(&failure("mounts", "open", "/host/way", Errno::NOENT));
        assert!(host.message.contains("error during container init"), "{host}");
    }

    #[test]
    fn a_file_on_a_directory_gets_a_hint() {
        assert!(
            start_error(&failure("mounts", "mount", "/x", Errno::NOTDIR)).message.contains("Are you trying")
        );
    }
}

//! Why a container, or a process of one, could not be made.

use std::fmt;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// One failure, as it crosses process borders: the step that failed, and the system call's own words.
///
/// Steps that a caller may want to tell apart: `exec` (the program: `object` is `argv[0]` and `errno` one of
/// ENOENT, EACCES, EISDIR, ENOTDIR, ENOEXEC, …), `user` (no such user or group) and `cwd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name of the step, as in the lists of `init`.
    pub step: String,
    /// What was being done.
    pub op: String,
    /// What it was done to; may be empty.
    pub object: String,
    /// The kernel's answer, as in errno(3); 0 where `op` and `object` say it all.
    pub errno: i32,
}

impl Failure {
    /// The failure of `step` for the reason that `error` gives.
    pub(crate) fn of(step: &str, error: &hull_sys::Error) -> Self {
        let hull_sys::Error { op, object, errno } = error;
        Self { step: step.into(), op: (*op).into(), object: object.clone(), errno: *errno }
    }

    /// A failure that a sentence explains.
    pub(crate) fn text(step: &str, text: impl Into<String>) -> Self {
        Self { step: step.into(), op: text.into(), object: String::new(), errno: 0 }
    }

    /// Whether the kernel answered with this error.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno.raw_os_error()
    }

    /// The kernel's answer in words, without a number and in lower case.
    fn reason(&self) -> String {
        let text = std::io::Error::from_raw_os_error(self.errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut chars = text.chars();
        chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
    }
}

/// `step: op object: reason`, but for the texts that users of other engines know.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, op, object, .. } = self;
        let object = object.as_str();
        match (step.as_str(), op.as_str(), self.errno) {
            ("exec", "lookup", _) => write!(f, "exec: {object:?}: executable file not found in $PATH"),
            ("exec", "stat", _) => write!(f, "exec: {object:?}: stat {object}: {}", self.reason()),
            ("exec", "access", _) => write!(f, "exec: {object:?}: {}", self.reason()),
            ("exec", "execve", _) => write!(f, "exec {object}: {}", self.reason()),
            // A relative one is a mistake of another kind.
            ("cwd", "chdir", errno) if errno != Errno::INVAL.raw_os_error() => {
                write!(f, "chdir to cwd ({object:?}) set in config.json failed: {}", self.reason())
            }
            ("user", op, 0) => write!(f, "{op} {object}"),
            (step, op, 0) if object.is_empty() => write!(f, "{step}: {op}"),
            (step, op, 0) => write!(f, "{step}: {op} {object}"),
            (step, op, _) if object.is_empty() => write!(f, "{step}: {op}: {}", self.reason()),
            (step, op, _) => write!(f, "{step}: {op} {object}: {}", self.reason()),
        }
    }
}

impl std::error::Error for Failure {}

/// Names the step in which a call failed.
pub(crate) trait Step<T> {
    /// The failure, if it is one, belongs to `step`.
    fn step(self, step: &str) -> Result<T, Failure>;
}

impl<T> Step<T> for hull_sys::Result<T> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::of(step, &error))
    }
}

impl<T> Step<T> for hull_cgroup::Result<T> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| match error {
            hull_cgroup::Error::System(error) => Failure::of(step, &error),
            error => Failure::text(step, error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(step: &str, op: &str, object: &str, errno: Errno) -> String {
        let (step, op, object) = (step.into(), op.into(), object.into());
        Failure { step, op, object, errno: errno.raw_os_error() }.to_string()
    }

    #[test]
    fn texts_are_the_known_ones() {
        let absent = failure("exec", "lookup", "nope", Errno::NOENT);
        assert_eq!(absent, r#"exec: "nope": executable file not found in $PATH"#);
        let missing = failure("exec", "stat", "/nope", Errno::NOENT);
        assert_eq!(missing, r#"exec: "/nope": stat /nope: no such file or directory"#);
        let nowhere = failure("cwd", "chdir", "/nope", Errno::NOENT);
        assert_eq!(nowhere, r#"chdir to cwd ("/nope") set in config.json failed: no such file or directory"#);
        assert_eq!(failure("exec", "access", "/etc", Errno::ACCESS), r#"exec: "/etc": permission denied"#);
        assert_eq!(failure("exec", "execve", "/x", Errno::NOEXEC), "exec /x: exec format error");
        assert_eq!(
            failure("mounts", "move_mount", "/proc", Errno::PERM),
            "mounts: move_mount /proc: operation not permitted"
        );
    }
}

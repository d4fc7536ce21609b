//! `--security-opt`.

use crate::model::go_bool;
use crate::{Error, Result};

/// What `--security-opt` asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SecurityOptions {
    /// "no-new-privileges", if it was said.
    pub(crate) no_new_privileges: Option<bool>,
    /// "seccomp=…".
    pub(crate) seccomp: Seccomp,
    /// "systempaths=unconfined".
    pub(crate) system_paths_unconfined: bool,
    /// "apparmor=…": the name of a profile.
    pub(crate) apparmor: Option<String>,
    /// "writable-cgroups", if it was said.
    pub(crate) writable_cgroups: Option<bool>,
}

/// Which system calls are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Seccomp {
    /// As the daemon says.
    #[default]
    Default,
    /// The built-in policy.
    Builtin,
    /// All.
    Unconfined,
    /// By this policy in Docker's JSON.
    Profile(String),
}

impl SecurityOptions {
    /// Reads the options as the API has them.
    pub(crate) fn parse(options: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        for option in options {
            parsed.take(option)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str) -> Result<()> {
        let invalid = |place: u8| Error::invalid(format!("invalid --security-opt {place}: \"{option}\""));
        match option {
            "no-new-privileges" => self.no_new_privileges = Some(true),
            "writable-cgroups" => self.writable_cgroups = Some(true),
            // The old form of "label=disable".
            "disable" => {}
            _ => return self.take_pair(option, invalid),
        }
        Ok(())
    }

    fn take_pair(&mut self, option: &str, invalid: impl Fn(u8) -> Error) -> Result<()> {
        // "name=value"; "name:value" is the old form.
        let (name, value) =
            option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(|| invalid(1))?;
        let switch = || go_bool(value).ok_or_else(|| invalid(2)).map(Some);
        match (name, value) {
            ("no-new-privileges", _) => self.no_new_privileges = switch()?,
            ("writable-cgroups", _) => self.writable_cgroups = switch()?,
            ("seccomp", "unconfined") => self.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => self.seccomp = Seccomp::Builtin,
            ("seccomp", profile) => self.seccomp = Seccomp::Profile(profile.into()),
            ("systempaths", "unconfined") => self.system_paths_unconfined = true,
            ("apparmor", profile) => self.apparmor = Some(profile.into()),
            // Labels of SELinux are of no effect here, as in a Docker that is not told to use them.
            ("label", _) => {}
            _ => return Err(invalid(2)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(option: &str) -> Result<SecurityOptions> {
        SecurityOptions::parse(&[option.to_owned()])
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(parse("no-new-privileges").unwrap().no_new_privileges, Some(true));
        assert_eq!(parse("no-new-privileges:false").unwrap().no_new_privileges, Some(false));
        assert_eq!(parse("writable-cgroups").unwrap().writable_cgroups, Some(true));
        assert_eq!(parse("apparmor=mine").unwrap().apparmor.as_deref(), Some("mine"));
        assert_eq!(parse("seccomp=unconfined").unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(parse("seccomp:unconfined").unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(parse("seccomp={\"a\":1}").unwrap().seccomp, Seccomp::Profile("{\"a\":1}".into()));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for option in ["frob", "frob=1", "no-new-privileges=maybe"] {
            assert!(parse(option).is_err(), "{option}");
        }
    }
}

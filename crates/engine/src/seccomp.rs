//! System call filters, each compiled once: most containers share one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hull_oci::runtime::{Capability, LinuxSeccomp};
use hull_runtime::seccomp::{self, Profile, Program};
use hull_sys::Context;

use crate::spec::{Seccomp, SecurityOptions};
use crate::{Error, Result};

/// More policies than anybody uses at a time; above it the cache starts anew.
const MAX_KEPT: usize = 64;

/// The policy of containers that name none, and the programs compiled so far.
pub(crate) struct Filters {
    default: Policy,
    /// By policy (empty: the default one) and capabilities.
    compiled: Mutex<HashMap<(String, Vec<String>), Program>>,
}

/// The daemon's own policy.
enum Policy {
    Builtin,
    Unconfined,
    Profile(Box<Profile>),
}

impl Filters {
    /// Reads the daemon's own policy, if it has one.
    pub(crate) fn new(profile: Option<&Path>) -> Result<Self> {
        let default = match profile {
            None => Policy::Builtin,
            Some(path) if path == Path::new("unconfined") => Policy::Unconfined,
            Some(path) => {
                let text = std::fs::read_to_string(path).on("read", path)?;
                Policy::Profile(Box::new(parse(&text).map_err(|error| error.within(path.display()))?))
            }
        };
        Ok(Self { default, compiled: Mutex::default() })
    }

    /// The filter of a container; `None` if it may call everything.
    pub(crate) fn of(
        &self,
        security: &SecurityOptions,
        privileged: bool,
        capabilities: &[Capability],
    ) -> Result<Option<Program>> {
        match self.chosen(security, privileged) {
            None => Ok(None),
            Some(chosen) => self.compile(chosen.key(), names(capabilities), || chosen.profile()),
        }
    }

    /// The same, not compiled: as a specification has it.
    pub(crate) fn policy(
        &self,
        security: &SecurityOptions,
        privileged: bool,
        capabilities: &[Capability],
    ) -> Result<Option<LinuxSeccomp>> {
        let Some(chosen) = self.chosen(security, privileged) else { return Ok(None) };
        Ok(Some(resolved(chosen.profile()?, &names(capabilities))))
    }

    fn chosen<'a>(&'a self, security: &'a SecurityOptions, privileged: bool) -> Option<Chosen<'a>> {
        match (&security.seccomp, &self.default) {
            (Seccomp::Unconfined, _) => None,
            (Seccomp::Profile(text), _) => Some(Chosen::Text(text)),
            // Privileged containers get a policy only by name.
            _ if privileged => None,
            (Seccomp::Builtin, _) | (Seccomp::Default, Policy::Builtin) => Some(Chosen::Builtin),
            (Seccomp::Default, Policy::Unconfined) => None,
            (Seccomp::Default, Policy::Profile(profile)) => Some(Chosen::Daemon(profile)),
        }
    }

    fn compile(
        &self,
        policy: &str,
        capabilities: Vec<String>,
        profile: impl FnOnce() -> Result<Option<Profile>>,
    ) -> Result<Option<Program>> {
        let key = (policy.to_owned(), capabilities);
        let kept = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = kept().get(&key) {
            return Ok(Some(program.clone()));
        }
        let program = seccomp::compile(&resolved(profile()?, &key.1))
            .map_err(|error| Error::invalid(error.to_string()))?;
        let mut kept = kept();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, program.clone());
        Ok(Some(program))
    }
}

/// A policy that a container has.
enum Chosen<'a> {
    Builtin,
    Text(&'a str),
    Daemon(&'a Profile),
}

impl Chosen<'_> {
    /// Its name among the compiled ones.
    fn key(&self) -> &str {
        match self {
            Self::Builtin => "builtin",
            Self::Text(text) => text,
            Self::Daemon(_) => "",
        }
    }

    /// `None` is the built-in one.
    fn profile(&self) -> Result<Option<Profile>> {
        match self {
            Self::Builtin => Ok(None),
            Self::Text(text) => parse(text).map(Some),
            Self::Daemon(profile) => Ok(Some(Profile::clone(profile))),
        }
    }
}

fn resolved(profile: Option<Profile>, capabilities: &[String]) -> LinuxSeccomp {
    match profile {
        Some(profile) => profile.resolve(capabilities),
        None => seccomp::docker_default(capabilities),
    }
}

/// Capabilities as policies name them, in an order.
fn names(capabilities: &[Capability]) -> Vec<String> {
    let mut names: Vec<_> = capabilities.iter().map(|capability| format!("CAP_{capability}")).collect();
    names.sort_unstable();
    names
}

fn parse(text: &str) -> Result<Profile> {
    seccomp::parse_profile(text)
        .map_err(|error| Error::invalid(error.to_string().replacen("decoding", "Decoding", 1)))
}

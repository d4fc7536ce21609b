//! System call filters, each compiled once: most containers share one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hull_oci::runtime::Capability;
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
        let names = || -> Vec<String> {
            let mut names: Vec<_> =
                capabilities.iter().map(|capability| format!("CAP_{capability}")).collect();
            names.sort_unstable();
            names
        };
        match &security.seccomp {
            Seccomp::Unconfined => Ok(None),
            Seccomp::Profile(text) => self.compile(text, names(), || Ok(Some(parse(text)?))),
            // Privileged containers get a policy only by name.
            _ if privileged => Ok(None),
            Seccomp::Builtin => self.compile("builtin", names(), || Ok(None)),
            Seccomp::Default => match &self.default {
                Policy::Unconfined => Ok(None),
                Policy::Builtin => self.compile("builtin", names(), || Ok(None)),
                Policy::Profile(profile) => self.compile("", names(), || Ok(Some(Profile::clone(profile)))),
            },
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
        let policy = match profile()? {
            Some(profile) => profile.resolve(&key.1),
            None => seccomp::docker_default(&key.1),
        };
        let program = seccomp::compile(&policy).map_err(|error| Error::invalid(error.to_string()))?;
        let mut kept = kept();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, program.clone());
        Ok(Some(program))
    }
}

fn parse(text: &str) -> Result<Profile> {
    seccomp::parse_profile(text)
        .map_err(|error| Error::invalid(error.to_string().replacen("decoding", "Decoding", 1)))
}

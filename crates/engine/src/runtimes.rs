//! The runtimes that containers may name: the one in the supervisor, and programs that the administrator has added.
//!
//! The supervisor's own goes by the names that every client has for Docker's; a program cannot take one of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hull_shim::protocol::ForeignRuntime;

use crate::{Engine, Error, Result};

/// The names of the runtime in the supervisor; the first is what a container gets that names none.
pub const BUILT_IN: [&str; 3] = ["runc", "io.containerd.runc.v2", "hull"];

/// A program with the command line of runc.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runtime {
    /// Its path, or its name in the usual directories.
    pub program: PathBuf,
    /// What stands before the action on its command line.
    pub arguments: Vec<String>,
}

/// What containers may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtimes {
    /// The name of the one that containers get that name none.
    pub default: String,
    /// Programs by name.
    pub added: BTreeMap<String, Runtime>,
}

impl Default for Runtimes {
    fn default() -> Self {
        Self { default: BUILT_IN[0].to_owned(), added: BTreeMap::new() }
    }
}

impl Runtimes {
    /// Checks names and paths.
    ///
    /// # Errors
    /// In Docker's words: a name that is taken, a runtime without a program, a default that is not there.
    pub fn check(&self) -> std::result::Result<(), String> {
        for (name, runtime) in &self.added {
            if BUILT_IN.contains(&name.as_str()) {
                return Err(format!("runtime name '{name}' is reserved"));
            }
            if runtime.program.as_os_str().is_empty() {
                return Err(format!("runtime {name}: either a runtimeType or a path must be configured"));
            }
        }
        match self.find(&self.default) {
            Some(_) => Ok(()),
            None => Err(format!("specified default runtime '{}' does not exist", self.default)),
        }
    }

    /// The runtime of that name, if there is one: a program, or the supervisor's own.
    fn find(&self, name: &str) -> Option<Option<&Runtime>> {
        match BUILT_IN.contains(&name) {
            true => Some(None),
            false => self.added.get(name).map(Some),
        }
    }
}

impl Engine {
    /// The runtimes there are.
    pub fn runtimes(&self) -> Runtimes {
        self.runtimes.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Replaces them, for containers that are created or started from now on.
    pub fn set_runtimes(&self, runtimes: Runtimes) {
        *self.runtimes.write().unwrap_or_else(std::sync::PoisonError::into_inner) = runtimes;
    }

    /// Replaces the size of /dev/shm, for containers that are created from now on.
    pub fn set_default_shm_size(&self, bytes: i64) {
        self.default_shm_size.store(bytes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Fills in the default where a container names none.
    pub(crate) fn check_runtime(&self, name: &mut String) -> Result<()> {
        let runtimes = self.runtimes();
        if name.is_empty() {
            *name = runtimes.default;
            return Ok(());
        }
        runtimes.find(name).map(drop).ok_or_else(|| unknown(name))
    }

    /// The program that a container's runtime is; `None`: the supervisor's own.
    pub(crate) fn foreign_runtime(&self, name: &str) -> Result<Option<ForeignRuntime>> {
        let runtimes = self.runtimes();
        let found = runtimes.find(name).ok_or_else(|| unknown(name))?;
        Ok(found.map(|runtime| ForeignRuntime {
            program: runtime.program.clone(),
            arguments: runtime.arguments.clone(),
        }))
    }
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("unknown or invalid runtime name: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_in_dockers_words() {
        let added = |name: &str, program: &str| {
            let runtime = Runtime { program: program.into(), arguments: Vec::new() };
            Runtimes { added: BTreeMap::from([(name.to_owned(), runtime)]), ..Runtimes::default() }
        };
        assert_eq!(Runtimes::default().check(), Ok(()));
        assert_eq!(added("other", "/x").check(), Ok(()));
        assert_eq!(added("runc", "/x").check(), Err("runtime name 'runc' is reserved".into()));
        assert!(added("other", "").check().is_err());
        let missing = Runtimes { default: "nope".into(), ..Runtimes::default() };
        assert_eq!(missing.check(), Err("specified default runtime 'nope' does not exist".into()));
        assert_eq!(Runtimes { default: "other".into(), ..added("other", "/x") }.check(), Ok(()));
    }
}

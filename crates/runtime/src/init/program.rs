//! The program of a process: its environment, and where it is.

use std::ffi::CString;
use std::path::Path;

use hull_oci::runtime::Process;
use hull_sys::{Context, Error, Result};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that can be executed.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: CString,
    pub(super) args: Vec<CString>,
    pub(super) env: Vec<CString>,
}

impl Program {
    /// Finds the program of `process`, as the caller's user sees it. `home` is for an environment without HOME.
    pub(super) fn find(process: &Process, home: &str) -> Result<Self> {
        let args = process.args().as_deref().unwrap_or_default();
        let name = args.first().ok_or_else(|| Error::new("no command is given", "", Errno::INVAL))?;
        let env = environment(process.env().as_deref().unwrap_or_default(), home);
        let path = match name.contains('/') {
            true => check(name).map(|()| name.clone())?,
            false => look_up(name, &env)?,
        };
        let strings = |all: &[String]| all.iter().map(|one| c_string(one)).collect::<Result<Vec<_>>>();
        Ok(Self { path: c_string(&path)?, args: strings(args)?, env: strings(&env)? })
    }
}

/// The environment with HOME; of a variable that is named twice the last value counts.
fn environment(variables: &[String], home: &str) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = Vec::with_capacity(variables.len() + 1);
    for variable in variables {
        match env.iter_mut().find(|earlier| name(earlier) == name(variable)) {
            Some(earlier) => earlier.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    let value = |variable: &String| variable.strip_prefix("HOME=").map(str::is_empty);
    match env.iter_mut().find(|variable| value(variable).is_some()) {
        Some(variable) if variable == "HOME=" => *variable = format!("HOME={home}"),
        Some(_) => {}
        None => env.push(format!("HOME={home}")),
    }
    env
}

/// The first program of that name in $PATH. One that may not be executed is passed over, but remembered.
fn look_up(name: &str, env: &[String]) -> Result<String> {
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
        let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) => denied |= error.is(Errno::ACCESS) && !is_directory(&candidate),
        }
    }
    match denied {
        true => Err(Error::new("access", name, Errno::ACCESS)),
        false => Err(Error::new("lookup", name, Errno::NOENT)),
    }
}

/// Whether `path` can be executed by the caller's user.
fn check(path: &str) -> Result<()> {
    let stat = rustix::fs::stat(path).on("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Error::new("access", path, Errno::ISDIR));
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).on("access", path)
}

fn is_directory(path: &str) -> bool {
    Path::new(path).is_dir()
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error::new("a string with a zero byte", text.replace('\0', "\\0"), Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[&str]) -> Vec<String> {
        let variables: Vec<String> = variables.iter().map(|one| (*one).to_owned()).collect();
        environment(&variables, "/root")
    }

    #[test]
    fn home_is_set_where_it_is_missing() {
        assert_eq!(env(&["A=1"]), ["A=1", "HOME=/root"]);
        assert_eq!(env(&["HOME="]), ["HOME=/root"]);
        assert_eq!(env(&["HOME=/tmp", "A=1"]), ["HOME=/tmp", "A=1"]);
    }

    #[test]
    fn the_last_value_counts() {
        assert_eq!(env(&["A=1", "HOME=/", "A=2"]), ["A=2", "HOME=/"]);
    }

    #[test]
    fn programs_are_found_or_the_reason_is() {
        let env = env(&["PATH=relative:/nonexistent:/bin"]);
        assert_eq!(look_up("sh", &env).unwrap(), "/bin/sh");
        let error = look_up("no-such-program", &env).unwrap_err();
        assert_eq!((error.op, error.is(Errno::NOENT)), ("lookup", true));
        assert!(check("/etc").unwrap_err().is(Errno::ISDIR));
        assert!(check("/etc/passwd/x").unwrap_err().is(Errno::NOTDIR));
        assert!(check("/etc/passwd").unwrap_err().is(Errno::ACCESS));
    }
}

//! What runs, and what it sees of the command line.

use hull_api::wire::StrSlice;
use hull_api::wire::container::ContainerConfig;
use hull_api::wire::host::HostConfig;

use super::some;
use crate::values::{environment, numbers, pairs};

/// What runs, and what it sees of the command line.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ProcessFlags {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list", value_parser = stream_name)]
    pub(super) attach: Vec<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "list")]
    env_file: Vec<String>,
    /// Run this in place of the image's ENTRYPOINT
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Keep STDIN open even if nothing is attached
    #[arg(short, long)]
    interactive: bool,
    /// Set metadata on the container
    #[arg(short, long, value_name = "list")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "list")]
    label_file: Vec<String>,
    /// Signal that stops the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds to wait for the container to stop before it is killed
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    stop_timeout: Option<i64>,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Username or UID, and group: name|uid[:group|gid]
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    workdir: String,
}

/// Who is attached while the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attaching {
    /// Our stdin is the container's.
    pub(crate) stdin: bool,
    /// Its output is ours.
    pub(crate) stdout: bool,
    /// Its errors are ours.
    pub(crate) stderr: bool,
    /// It has a terminal.
    pub(crate) tty: bool,
}

impl ProcessFlags {
    pub(super) fn attaching(&self) -> Attaching {
        let (asked, tty) = (&self.attach, self.tty);
        let has = |name: &str| asked.iter().any(|stream| stream == name);
        match asked.is_empty() {
            true => Attaching { stdin: self.interactive, stdout: true, stderr: true, tty },
            false => Attaching { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr"), tty },
        }
    }

    pub(super) fn apply(
        &self,
        command: &[String],
        config: &mut ContainerConfig,
        host: &mut HostConfig,
    ) -> Result<(), String> {
        let attaching = self.attaching();
        config.user.clone_from(&self.user);
        config.attach_stdin = attaching.stdin;
        config.attach_stdout = attaching.stdout;
        config.attach_stderr = attaching.stderr;
        config.tty = self.tty;
        config.open_stdin = self.interactive;
        // Who is attached and gone has closed it.
        config.stdin_once = self.interactive && attaching.stdin;
        config.env = some(environment::collect(&self.env_file, &self.env)?);
        config.cmd = (!command.is_empty()).then(|| StrSlice(command.to_vec()));
        config.working_dir.clone_from(&self.workdir);
        // An empty one resets the image's.
        config.entrypoint = self.entrypoint.as_ref().map(|program| StrSlice(vec![program.clone()]));
        config.labels = pairs::labels(&self.label_file, &self.label)?;
        config.stop_signal.clone_from(&self.stop_signal);
        config.stop_timeout = self.stop_timeout;
        let size = crate::terminal::size().unwrap_or((0, 0));
        host.console_size = [size.0.into(), size.1.into()];
        Ok(())
    }
}

fn stream_name(text: &str) -> Result<String, String> {
    match text.to_lowercase() {
        name if ["stdin", "stdout", "stderr"].contains(&name.as_str()) => Ok(name),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

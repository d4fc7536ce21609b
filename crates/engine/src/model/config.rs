//! What is to run: the part of a container that an image can give defaults for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Ports;

/// The portable half of a container's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Host name; empty: the first 12 digits of the id.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// "name|uid[:group|gid]"; empty: root.
    pub user: String,
    /// Whether the creating client means to attach stdin.
    pub attach_stdin: bool,
    /// Whether the creating client means to attach stdout.
    pub attach_stdout: bool,
    /// Whether the creating client means to attach stderr.
    pub attach_stderr: bool,
    /// Ports the image documents.
    pub exposed_ports: BTreeSet<Ports>,
    /// Those of them that were named without their protocol, which is TCP: they are shown as they came.
    pub bare_ports: BTreeSet<u16>,
    /// Whether the container gets a terminal.
    pub tty: bool,
    /// Whether stdin is kept open without a client.
    pub open_stdin: bool,
    /// Whether stdin is closed when the first attached client leaves.
    pub stdin_once: bool,
    /// "NAME=value" entries; "NAME" alone removes an image's variable.
    pub env: Vec<String>,
    /// The command, or the arguments of the entry point.
    pub cmd: Option<Vec<String>>,
    /// How health is probed; `None`: as the image says.
    pub healthcheck: Option<Healthcheck>,
    /// Windows only; kept for inspect.
    pub args_escaped: bool,
    /// The image as the user named it.
    pub image: String,
    /// Paths that get anonymous volumes.
    pub volumes: BTreeSet<String>,
    /// Working directory; empty: `/`.
    pub working_dir: String,
    /// The program in front of the command. `Some(vec![])` clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Whether there is no network at all.
    pub network_disabled: bool,
    /// MAC address on the first network; empty: generated.
    pub mac_address: String,
    /// ONBUILD triggers of the image.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to stop; empty: SIGTERM.
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL; `None`: 10, negative: for ever.
    pub stop_timeout: Option<i64>,
    /// The shell of RUN, CMD and ENTRYPOINT in their shell form.
    pub shell: Option<Vec<String>>,
}

/// How a container's health is probed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `[]` inherit, `["NONE"]` off, `["CMD", ..]` or `["CMD-SHELL", script]`.
    pub test: Vec<String>,
    /// Time between probes; zero: 30 s.
    pub interval: Duration,
    /// Time one probe may take; zero: 30 s.
    pub timeout: Duration,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
    /// Time between probes in the start period; zero: 5 s.
    pub start_interval: Duration,
    /// Consecutive failures that mean unhealthy; zero: 3.
    pub retries: u32,
}

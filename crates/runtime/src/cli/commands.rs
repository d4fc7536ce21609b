//! The commands with their help: one table for both.

use std::fmt::Write as _;
use std::process::ExitCode;

use lexopt::Parser;

use super::error::Result;
use super::{
    Global, VERSION, checkpoint, create, delete, events, exec, features, kill, list, pause, ps, restore, run,
    spec, start, state, update,
};

/// A command of the command line.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What follows the options.
    arguments: &'static str,
    summary: &'static str,
    /// Each option with what it means.
    options: &'static [(&'static str, &'static str)],
    /// Reads its own arguments and does the work.
    pub(crate) run: fn(&Global, &mut Parser) -> Result<ExitCode>,
}

const ID: &str = "<container-id>";

const BUNDLE: (&str, &str) = ("-b, --bundle DIR", "the directory with config.json (default: this one)");
const CONSOLE: (&str, &str) =
    ("--console-socket PATH", "a unix socket that takes the terminal's master side");
const PID_FILE: (&str, &str) = ("--pid-file FILE", "where the process id is written to");
const PIDFD: (&str, &str) = ("--pidfd-socket PATH", "a unix socket that takes a pidfd of the process");
const NO_PIVOT: (&str, &str) =
    ("--no-pivot", "leave the host's root by chroot(2), where pivot_root(2) cannot (ramdisks); less safe");
const KEYRING: (&str, &str) = ("--no-new-keyring", "keep the caller's session keyring");
const PRESERVE: (&str, &str) = ("--preserve-fds N", "hand descriptors 3 to 2+N to the process");
const DETACH: (&str, &str) = ("-d, --detach", "do not wait for the process");
const SUBREAPER: (&str, &str) = ("--no-subreaper", "accepted: this runtime never is a subreaper");

/// All commands, by name.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "checkpoint",
        arguments: ID,
        summary: "save a running container to files, by the program criu",
        options: checkpoint::OPTIONS,
        run: checkpoint::run,
    },
    Command {
        name: "create",
        arguments: ID,
        summary: "create a container from a bundle",
        options: &[BUNDLE, CONSOLE, PID_FILE, PIDFD, NO_PIVOT, KEYRING, PRESERVE],
        run: create::run,
    },
    Command {
        name: "delete",
        arguments: ID,
        summary: "remove what a container left",
        options: &[("-f, --force", "kill it if it runs; be content if there is none")],
        run: delete::run,
    },
    Command {
        name: "events",
        arguments: ID,
        summary: "print what a container uses, and when it runs out of memory",
        options: &[
            ("--interval TIME", "how often, as 5s or 500ms (default: 5s)"),
            ("--stats", "print once and end"),
        ],
        run: events::run,
    },
    Command {
        name: "exec",
        arguments: "<container-id> <command> [argument...]",
        summary: "run another process in a container",
        options: exec::OPTIONS,
        run: exec::run,
    },
    Command {
        name: "features",
        arguments: "",
        summary: "print what this runtime can do, as JSON",
        options: &[],
        run: features::run,
    },
    Command {
        name: "kill",
        arguments: "<container-id> [signal]",
        summary: "send a signal to a container (default: TERM)",
        options: &[("-a, --all", "to all of its processes")],
        run: kill::run,
    },
    Command {
        name: "list",
        arguments: "",
        summary: "list containers",
        options: &[
            ("-f, --format FORMAT", "table or json (default: table)"),
            ("-q, --quiet", "print names only"),
        ],
        run: list::run,
    },
    Command {
        name: "pause",
        arguments: ID,
        summary: "stop all processes of a container",
        options: &[],
        run: pause::pause,
    },
    Command {
        name: "ps",
        arguments: "<container-id> [ps options]",
        summary: "list the processes of a container",
        options: &[("-f, --format FORMAT", "table or json (default: table)")],
        run: ps::run,
    },
    Command {
        name: "restore",
        arguments: ID,
        summary: "make a container again from the files of checkpoint",
        options: restore::OPTIONS,
        run: restore::run,
    },
    Command {
        name: "resume",
        arguments: ID,
        summary: "let the processes of a paused container run again",
        options: &[],
        run: pause::resume,
    },
    Command {
        name: "run",
        arguments: ID,
        summary: "create and start a container",
        options: &[
            BUNDLE,
            CONSOLE,
            DETACH,
            ("--keep", "do not delete the container after its end"),
            PID_FILE,
            PIDFD,
            NO_PIVOT,
            KEYRING,
            PRESERVE,
            SUBREAPER,
        ],
        run: run::run,
    },
    Command {
        name: "spec",
        arguments: "",
        summary: "write a sample config.json",
        options: &[
            ("-b, --bundle DIR", "where to (default: this directory)"),
            ("--rootless", "for an ordinary user"),
        ],
        run: spec::run,
    },
    Command {
        name: "start",
        arguments: ID,
        summary: "execute the program of a container that was created",
        options: &[],
        run: start::run,
    },
    Command {
        name: "state",
        arguments: ID,
        summary: "print the state of a container",
        options: &[],
        run: state::run,
    },
    Command {
        name: "update",
        arguments: ID,
        summary: "change the limits of a container",
        options: update::OPTIONS,
        run: update::run,
    },
];

const GLOBAL: &[(&str, &str)] = &[
    ("--root DIR", "where containers are remembered"),
    ("--log FILE", "write messages to this file, too"),
    ("--log-format FORMAT", "text or json (default: text)"),
    ("--debug", "say more"),
    ("--criu PROGRAM", "what checkpoint and restore execute (default: criu)"),
    ("--systemd-cgroup", "let systemd make the cgroup; cgroupsPath is then slice:prefix:name"),
    (
        "--rootless WHEN",
        "true, false or auto: be content without a cgroup that may not be made (default: auto)",
    ),
    ("-h, --help", "this text"),
    ("-v, --version", "the version"),
];

impl Command {
    /// The command of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name)
    }

    /// How it is used.
    pub(crate) fn help(&self) -> String {
        let Self { name, arguments, summary, options, .. } = self;
        let words = if options.is_empty() { "" } else { " [options]" };
        let arguments = if arguments.is_empty() { String::new() } else { format!(" {arguments}") };
        let mut text =
            format!("hull-runtime {name}: {summary}\n\nUsage: hull-runtime {name}{words}{arguments}\n");
        if !options.is_empty() {
            text.push_str("\nOptions:\n");
            text.push_str(&table(options));
        }
        text
    }
}

/// How the whole is used.
pub(crate) fn help() -> String {
    let commands: Vec<_> = COMMANDS.iter().map(|command| (command.name, command.summary)).collect();
    format!(
        "hull-runtime: an OCI runtime, version {VERSION}\n\n\
         Usage: hull-runtime [global options] COMMAND [options] [arguments]\n\n\
         Commands (each has a --help of its own):\n{}\nGlobal options:\n{}",
        table(&commands),
        table(GLOBAL)
    )
}

fn table(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, meaning)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:width$}  {meaning}");
        text
    })
}

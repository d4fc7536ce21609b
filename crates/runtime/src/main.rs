//! `hull-runtime`: an OCI runtime with runc's command line.
//!
//! Each command is one file below `cli`. What a container is between two invocations is a directory below `--root`
//! (see `cli::container`); everything else is the kernel's.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

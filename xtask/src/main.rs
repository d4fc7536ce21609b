//! The project's own chores: `cargo xtask tidy | layers | test | bench`.

use std::io::Write;
use std::process::ExitCode;

mod bench;
mod hosts;
mod layers;
mod tidy;
mod trial;

/// What a chore says when it fails; printed once, by `main`.
type Outcome = Result<(), String>;

const USAGE: &str = "usage: cargo xtask <chore>
  tidy           source rules that neither rustfmt nor clippy know
  layers         which crate may use which
  test [FILTER]  every test, each in mount and network namespaces of its own; --vm: also in a virtual machine
  bench          us and the peers, interleaved, into docs/benchmarks.md";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("tidy") => tidy::check(),
        Some("layers") => layers::check(),
        Some("bench") => bench::run(&args[1..]),
        Some("test") => trial::run(&args[1..]),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

/// Writes one line to standard output; a closed pipe is not our problem.
fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
}

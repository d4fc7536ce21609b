//! `hull`: the command line of the container engine.
//!
//! It talks nothing but the Engine API, so it drives hulld and dockerd alike. A command is one file below
//! `commands`; [`command`] finds it and reads its flags. Only the chosen command's parser is ever built: most of
//! these processes live for two milliseconds.

mod archive;
mod attached;
mod command;
mod commands;
mod complain;
mod credentials;
mod daemon;
mod format;
mod human;
mod json;
mod outlet;
mod output;
mod progress;
mod proxies;
mod request;
mod session;
mod table;
mod terminal;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(reason) => return complain::Complaint::from(reason).tell(),
    };
    let outcome = runtime.block_on(command::run(std::env::args().skip(1).collect()));
    // A thread may still sit in a read of the terminal: it is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(status) => ExitCode::from(status.0),
        Err(complaint) => complaint.tell(),
    }
}

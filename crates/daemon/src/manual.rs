//! What packagers install beside the daemon, made of its own command line: a manual page and completions.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::settings;

/// Prints `what`: "man", or the name of a shell.
pub(crate) fn print(what: &str) -> io::Result<()> {
    let mut command = settings::command();
    let shell = match what {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => {
            let page = clap_mangen::Man::new(command).section("8");
            return page.render(&mut io::stdout().lock());
        }
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "hulld", &mut text);
    io::stdout().lock().write_all(&text)
}

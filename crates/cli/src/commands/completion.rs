//! `hull completion` and the hidden `hull man`: what packagers install beside the binary.

use crate::command::{self, Operands, command};
use crate::commands;
use crate::complain::{Complaint, DONE, Outcome};
use crate::session::{GlobalFlags, Session};
use clap::Args as _;
use std::io::Write as _;

/// `hull completion`.
pub(crate) mod shell {
    use super::*;
    use crate::command::NoFlags;
    use clap_complete::Shell;

    command! {
        names: ["completion"], about: "Print the completions of a shell: bash, zsh, fish",
        usage: "SHELL", operands: Operands::Exactly(1), flags: NoFlags
    }

    async fn run(_: NoFlags, operands: Vec<String>, _: Session) -> Outcome {
        let shell = match operands[0].as_str() {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            other => return Err(Complaint::new(format!("hull: no completions for shell {other:?}"))),
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut tree(), "hull", &mut text);
        std::io::stdout().lock().write_all(&text)?;
        Ok(DONE)
    }
}

/// `hull man`.
pub(crate) mod man {
    use super::*;

    command! {
        names: ["man"], about: "Write the manual pages",
        usage: "--dir DIRECTORY", operands: Operands::Exactly(0), flags: Flags, hidden: true
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Directory that they go to
        #[arg(long, value_name = "string", default_value = ".")]
        dir: std::path::PathBuf,
    }

    async fn run(flags: Flags, _: Vec<String>, _: Session) -> Outcome {
        std::fs::create_dir_all(&flags.dir)?;
        clap_mangen::generate_to(tree(), &flags.dir)?;
        Ok(DONE)
    }
}

/// All commands as one tree.
fn tree() -> clap::Command {
    let root = clap::Command::new("hull").about("A container engine").version(env!("CARGO_PKG_VERSION"));
    let mut root = GlobalFlags::augment_args(root.disable_version_flag(true).disable_help_subcommand(true));
    let mut groups: Vec<clap::Command> = commands::GROUPS
        .iter()
        .map(|(name, about)| clap::Command::new(*name).about(*about).disable_help_subcommand(true))
        .collect();
    for entry in commands::ALL.iter().filter(|entry| !entry.hidden) {
        for name in entry.names {
            match name.split_once(' ') {
                None => root = root.subcommand(with_operands(command::described(entry, name), entry.usage)),
                Some((group, name)) => {
                    let sub = with_operands(command::described(entry, name), entry.usage);
                    if let Some(at) = groups.iter().position(|known| known.get_name() == group) {
                        let group = groups.remove(at);
                        groups.insert(at, group.subcommand(sub));
                    }
                }
            }
        }
    }
    root.subcommands(groups)
}

fn with_operands(command: clap::Command, usage: &'static str) -> clap::Command {
    let command = command.no_binary_name(false);
    match usage.replace("[OPTIONS]", "").trim() {
        "" => command,
        operands => command.arg(clap::Arg::new("operands").value_name(operands.to_owned()).num_args(0..)),
    }
}

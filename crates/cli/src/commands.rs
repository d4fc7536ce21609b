//! The commands, one file each.

use crate::command::Command;
use crate::complain::Complaint;
use hull_api::wire::image::Platform;
use std::fmt::Write as _;

mod attach;
mod checkpoint;
mod commit;
mod completion;
mod cp;
mod create;
mod diff;
mod events;
mod exec;
mod export;
mod history;
mod images;
mod import_image;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod network;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod stop;
mod system_df;
mod tag;
mod top;
mod unpause;
mod update;
mod version;
mod volume;
mod wait;

/// All commands. The first ones are the most used.
pub(crate) const ALL: &[&Command] = &[
    &run::COMMAND,
    &exec::COMMAND,
    &ps::COMMAND,
    &pull::COMMAND,
    &push::COMMAND,
    &images::COMMAND,
    &login::COMMAND,
    &logout::COMMAND,
    &version::COMMAND,
    &info::COMMAND,
    &attach::COMMAND,
    &checkpoint::create::COMMAND,
    &checkpoint::ls::COMMAND,
    &checkpoint::rm::COMMAND,
    &commit::COMMAND,
    &completion::shell::COMMAND,
    &completion::man::COMMAND,
    &cp::COMMAND,
    &create::COMMAND,
    &diff::COMMAND,
    &events::COMMAND,
    &export::COMMAND,
    &history::COMMAND,
    &import_image::COMMAND,
    &inspect::COMMAND,
    &inspect::container::COMMAND,
    &inspect::image::COMMAND,
    &inspect::network::COMMAND,
    &inspect::volume::COMMAND,
    &kill::COMMAND,
    &load::COMMAND,
    &logs::COMMAND,
    &network::connect::COMMAND,
    &network::create::COMMAND,
    &network::disconnect::COMMAND,
    &network::ls::COMMAND,
    &network::prune::COMMAND,
    &network::rm::COMMAND,
    &pause::COMMAND,
    &port::COMMAND,
    &port::add::COMMAND,
    &port::rm::COMMAND,
    &prune::container::COMMAND,
    &prune::image::COMMAND,
    &prune::system::COMMAND,
    &rename::COMMAND,
    &restart::COMMAND,
    &rm::COMMAND,
    &rmi::COMMAND,
    &save::COMMAND,
    &start::COMMAND,
    &stats::COMMAND,
    &stop::COMMAND,
    &system_df::COMMAND,
    &tag::COMMAND,
    &top::COMMAND,
    &unpause::COMMAND,
    &update::COMMAND,
    &volume::create::COMMAND,
    &volume::ls::COMMAND,
    &volume::prune::COMMAND,
    &volume::rm::COMMAND,
    &wait::COMMAND,
];

/// How many of [`ALL`] stand first in the overview.
const COMMON: usize = 10;

/// The groups of commands.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("checkpoint", "Manage checkpoints of containers"),
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("network", "Manage networks"),
    ("system", "Manage the engine"),
    ("volume", "Manage volumes"),
];

/// What Docker has and Hull has not yet.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "build",
    "builder",
    "buildx",
    "compose",
    "config",
    "context",
    "image build",
    "manifest",
    "node",
    "plugin",
    "scout",
    "search",
    "secret",
    "service",
    "stack",
    "swarm",
    "system dial-stdio",
    "trust",
    "volume update",
];

/// The commands of a group with a line on each; without a group, all.
pub(crate) fn overview(group: Option<&str>) -> String {
    match group {
        Some(group) => of_group(group),
        None => of_all(),
    }
}

fn of_group(group: &str) -> String {
    let about = GROUPS.iter().find(|(name, _)| *name == group).map_or("", |(_, about)| about);
    let mut text = format!("Usage:  hull {group} COMMAND\n\n{about}\n\nCommands:\n");
    let mut lines: Vec<(&str, &str)> = ALL
        .iter()
        .flat_map(|command| command.names.iter().take(1).map(|name| (*name, command.about)))
        .filter_map(|(name, about)| name.strip_prefix(group)?.strip_prefix(' ').map(|name| (name, about)))
        .collect();
    lines.sort_unstable();
    list(&mut text, &lines);
    _ = write!(text, "\nRun 'hull {group} COMMAND --help' for more information on a command.\n");
    text
}

fn of_all() -> String {
    let line = |command: &&'static Command| {
        let name = command.names.iter().find(|name| !name.contains(' '))?;
        (!command.hidden).then_some((*name, command.about))
    };
    let mut text = "Usage:  hull [OPTIONS] COMMAND\n\nA container engine\n\nCommon Commands:\n".to_owned();
    list(&mut text, &ALL[..COMMON].iter().filter_map(line).collect::<Vec<_>>());
    text.push_str("\nManagement Commands:\n");
    list(&mut text, GROUPS);
    text.push_str("\nCommands:\n");
    let mut others: Vec<_> = ALL[COMMON..].iter().filter_map(line).collect();
    others.sort_unstable();
    list(&mut text, &others);
    text.push_str("\nGlobal Options:\n");
    text.push_str(&crate::command::global_options());
    text.push_str("\nRun 'hull COMMAND --help' for more information on a command.\n");
    text
}

fn list(text: &mut String, lines: &[(&str, &str)]) {
    for (name, about) in lines {
        _ = writeln!(text, "  {name:<11} {about}");
    }
}

/// "linux/arm64/v8" as the API wants it.
fn platform_json(text: &str) -> Result<String, Complaint> {
    let parts: Vec<&str> = text.split('/').collect();
    let (os, architecture, variant) = match parts[..] {
        [os, architecture] => (os, architecture, ""),
        [os, architecture, variant] => (os, architecture, variant),
        _ => return Err(Complaint::new(format!("invalid platform: {text:?}"))),
    };
    let platform = Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..Platform::default()
    };
    serde_json::to_string(&platform).map_err(|reason| Complaint::new(reason.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_known_groups() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|command| command.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            if let Some((group, _)) = name.split_once(' ') {
                let command = || ALL.iter().any(|command| command.names.contains(&group));
                assert!(GROUPS.iter().any(|(known, _)| *known == group) || command(), "{name}");
            }
            assert!(!UNSUPPORTED.contains(&name), "{name}");
        }
    }

    #[test]
    fn overviews_name_every_command() {
        let all = overview(None);
        let containers = overview(Some("container"));
        for command in ALL.iter().filter(|command| !command.hidden) {
            for name in command.names.iter().filter(|name| !name.contains(' ')) {
                assert!(all.contains(&format!("\n  {name} ")), "{name}");
            }
        }
        assert!(containers.contains("\n  ls          List containers\n"));
    }

    #[test]
    fn platforms_are_json() {
        assert_eq!(
            platform_json("linux/arm/v7").unwrap(),
            r#"{"architecture":"arm","os":"linux","variant":"v7"}"#
        );
        assert!(platform_json("linux").is_err());
    }
}

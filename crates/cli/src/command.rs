//! What a command is, how it is found, and how its flags are read as Docker reads them.
//!
//! A command line is `hull [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARG...]`. clap does the parsing, with two habits of
//! Docker's added: `--flag=false` turns a switch off, and the last of several values wins. Mistakes are told in the
//! words that Docker's users know.

use crate::commands;
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::{GlobalFlags, Session};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};
use std::error::Error as _;
use std::pin::Pin;

/// A command: its names, its flags, and what it does.
pub(crate) struct Command {
    /// Under which names it is found, as in "container ls" and "ps".
    pub(crate) names: &'static [&'static str],
    /// One line on what it does.
    pub(crate) about: &'static str,
    /// What follows its name.
    pub(crate) usage: &'static str,
    /// How many arguments it takes.
    pub(crate) operands: Operands,
    /// Whether the first argument ends the flags, as for `run`: what follows belongs to the container.
    pub(crate) flags_first: bool,
    /// Whether it is left out of help.
    pub(crate) hidden: bool,
    /// Adds its flags.
    pub(crate) flags: fn(clap::Command) -> clap::Command,
    /// Does it.
    pub(crate) run: fn(Invocation) -> Running,
}

/// A command that is running.
pub(crate) type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operands {
    /// No fewer and no more.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// This many or fewer.
    AtMost(usize),
    /// From the one to the other.
    Between(usize, usize),
}

/// One use of a command.
pub(crate) struct Invocation {
    /// What the flags said.
    pub(crate) matches: ArgMatches,
    /// What was not a flag.
    pub(crate) operands: Vec<String>,
    /// The daemon and the settings.
    pub(crate) session: Session,
}

/// Declares a command of a file: `async fn run(flags: Flags, operands: Vec<String>, session: Session)`.
macro_rules! command {
    (
        names: [$($name:literal),+], about: $about:literal, usage: $usage:literal, operands: $operands:expr,
        flags: $flags:ty $(, $option:ident: $value:expr)* $(,)?
    ) => {
        /// This command.
        pub(crate) const COMMAND: $crate::command::Command = $crate::command::Command {
            $($option: $value,)*
            ..$crate::command::Command {
                names: &[$($name),+],
                about: $about,
                usage: $usage,
                operands: $operands,
                flags_first: false,
                hidden: false,
                flags: <$flags as clap::Args>::augment_args,
                run: |invocation| {
                    Box::pin(async move {
                        let flags = $crate::command::read::<$flags>(&invocation.matches)?;
                        run(flags, invocation.operands, invocation.session).await
                    })
                },
            }
        };
    };
}
pub(crate) use command;

/// The flags of a command that has none.
#[derive(Debug, Args)]
pub(crate) struct NoFlags {}

/// The flags as the command's own type.
pub(crate) fn read<T: FromArgMatches>(matches: &ArgMatches) -> Result<T, Complaint> {
    T::from_arg_matches(matches).map_err(|reason| Complaint::new(reason.to_string()).with_status(125))
}

/// Reads the command line and does what it says.
pub(crate) async fn run(words: Vec<String>) -> Outcome {
    let root = GlobalFlags::augment_args(bare("hull"));
    let (matches, words) = match parse(root, &words, true) {
        Ok(parsed) => parsed,
        Err(reason) if reason.kind() == ErrorKind::DisplayHelp => return help(&[]),
        Err(reason) => {
            return Err(misuse(
                &reason,
                &GlobalFlags::augment_args(bare("hull")),
                "hull",
                "[OPTIONS] COMMAND [ARG...]",
            ));
        }
    };
    let global: GlobalFlags = read(&matches)?;
    if global.version {
        output::line(&format!("Hull version {}", env!("CARGO_PKG_VERSION")))?;
        return Ok(DONE);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match find(&words) {
        Found::Command(command, used) => {
            let name = words[..used].join(" ");
            let rest: Vec<String> = words[used..].iter().map(|word| (*word).to_owned()).collect();
            invoke(command, &name, &rest, Session::new(global)?).await
        }
        Found::Help(path) => help(&path),
        Found::Unsupported(name) => Err(Complaint::new(format!("hull: '{name}' is not supported yet"))),
        Found::Unknown(group, name) => Err(unknown(&group, &name)),
    }
}

/// Where a command line leads.
enum Found {
    /// To a command, named by so many words.
    Command(&'static Command, usize),
    /// To the help of a group, or of all.
    Help(Vec<String>),
    /// To something that Docker has and Hull has not.
    Unsupported(String),
    /// Nowhere.
    Unknown(String, String),
}

fn find(words: &[&str]) -> Found {
    let words = if words.first() == Some(&"help") { &words[1..] } else { words };
    let Some(first) = words.first() else { return Found::Help(Vec::new()) };
    for used in [2, 1] {
        if let Some(command) = words.get(..used).and_then(|path| by_name(&path.join(" "))) {
            return Found::Command(command, used);
        }
    }
    let is_group = commands::GROUPS.iter().any(|(name, _)| name == first);
    match words.get(1) {
        _ if commands::UNSUPPORTED.contains(first) => Found::Unsupported((*first).to_owned()),
        None | Some(&"--help" | &"-h") if is_group => Found::Help(vec![(*first).to_owned()]),
        Some(second) if is_group => {
            let full = format!("{first} {second}");
            match commands::UNSUPPORTED.contains(&full.as_str()) {
                true => Found::Unsupported(full),
                false => Found::Unknown((*first).to_owned(), (*second).to_owned()),
            }
        }
        _ => Found::Unknown(String::new(), (*first).to_owned()),
    }
}

/// The command of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Command> {
    commands::ALL.iter().copied().find(|command| command.names.contains(&name))
}

fn unknown(group: &str, name: &str) -> Complaint {
    let path = if group.is_empty() { "hull".to_owned() } else { format!("hull {group}") };
    let usage = if group.is_empty() { String::new() } else { format!("Usage:  {path} COMMAND\n\n") };
    let hint = format!("Run '{path} --help' for more information");
    Complaint::new(format!("hull: unknown command: {path} {name}\n\n{usage}{hint}"))
}

/// Reads a command's own flags and runs it.
async fn invoke(command: &'static Command, name: &str, words: &[String], session: Session) -> Outcome {
    let (matches, operands) = match parse(parser(command, name), words, command.flags_first) {
        Ok(parsed) => parsed,
        Err(reason) if reason.kind() == ErrorKind::DisplayHelp => {
            output::text(&command_help(command, name))?;
            return Ok(DONE);
        }
        Err(reason) => {
            return Err(misuse(&reason, &parser(command, name), &format!("hull {name}"), command.usage));
        }
    };
    command.operands.check(operands.len(), name, command.usage)?;
    (command.run)(Invocation { matches, operands, session }).await
}

impl Operands {
    /// Docker's words for too few or too many.
    fn check(self, given: usize, name: &str, usage: &str) -> Result<(), Complaint> {
        let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
        let wanted = match self {
            Operands::Exactly(0) if given > 0 => "accepts no arguments".to_owned(),
            Operands::Exactly(count) if given != count => format!("requires {count} {}", plural(count)),
            Operands::AtLeast(least) if given < least => {
                format!("requires at least {least} {}", plural(least))
            }
            Operands::AtMost(most) if given > most => format!("requires at most {most} {}", plural(most)),
            Operands::Between(least, most) if given < least || given > most => {
                format!("requires at least {least} and at most {most} {}", plural(most))
            }
            _ => return Ok(()),
        };
        Err(Complaint::new(format!(
            "hull: 'hull {name}' {wanted}\n\nUsage:  hull {name} {usage}\n\nRun 'hull {name} --help' for more information"
        )))
    }
}

/// An empty parser with Hull's own ways of help.
fn bare(name: &str) -> clap::Command {
    clap::Command::new(name.to_owned())
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .args_override_self(true)
}

/// The parser of a command as its help, its manual page and the completions show it.
pub(crate) fn described(command: &'static Command, name: &str) -> clap::Command {
    (command.flags)(bare(name)).about(command.about)
}

/// The parser of a command as it reads.
fn parser(command: &'static Command, name: &str) -> clap::Command {
    described(command, name)
}

/// Parses words; what is no flag comes back beside the matches.
fn parse(
    command: clap::Command,
    words: &[String],
    flags_first: bool,
) -> Result<(ArgMatches, Vec<String>), clap::Error> {
    let takes_h = command.get_arguments().any(|arg| arg.get_short() == Some('h'));
    let mut help = Arg::new("help").long("help").action(ArgAction::Help);
    if !takes_h {
        help = help.short('h');
    }
    let operands = Arg::new("operands").num_args(0..).trailing_var_arg(flags_first);
    let mut matches =
        command.mut_args(as_docker_reads).arg(help).arg(operands).try_get_matches_from(words)?;
    let operands = matches.remove_many("operands").map(Iterator::collect).unwrap_or_default();
    Ok((matches, operands))
}

/// A switch takes `=true` and `=false`; a value may begin with a dash.
fn as_docker_reads(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(switch),
        ArgAction::Set | ArgAction::Append => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// Go's booleans.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Docker's words for a mistake in the flags.
fn misuse(reason: &clap::Error, command: &clap::Command, name: &str, usage: &str) -> Complaint {
    let context = |kind| match reason.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let flag = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let text = match reason.kind() {
        ErrorKind::UnknownArgument => match flag.strip_prefix('-') {
            Some(short) if !short.starts_with('-') => {
                format!("unknown shorthand flag: '{}' in -{short}", short.chars().next().unwrap_or('-'))
            }
            _ => format!("unknown flag: {flag}"),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("flag needs an argument: {}", long_of(&flag)),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let why = reason.source().map_or_else(|| "invalid syntax".to_owned(), ToString::to_string);
            format!("invalid argument {value:?} for \"{}\" flag: {why}", both_names(command, &flag))
        }
        _ => reason.to_string().trim_end().to_owned(),
    };
    Complaint::new(format!("{text}\n\nUsage:  {name} {usage}\n\nRun '{name} --help' for more information"))
        .with_status(125)
}

/// "--memory" of "--memory <bytes>".
fn long_of(flag: &str) -> &str {
    flag.split([' ', '[', '=']).next().unwrap_or(flag)
}

/// "-m, --memory" of "--memory <bytes>".
fn both_names(command: &clap::Command, flag: &str) -> String {
    let long = long_of(flag);
    let short = command
        .get_arguments()
        .find(|arg| arg.get_long().is_some_and(|name| Some(name) == long.strip_prefix("--")))
        .and_then(Arg::get_short);
    match short {
        Some(short) => format!("-{short}, {long}"),
        None => long.to_owned(),
    }
}

/// The help of a command.
fn command_help(command: &'static Command, name: &str) -> String {
    let mut text = format!("Usage:  hull {name} {}\n\n{}\n", command.usage, command.about);
    if command.names.len() > 1 {
        let names: Vec<String> = command.names.iter().map(|name| format!("hull {name}")).collect();
        text.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let mut parser = described(command, name).help_template("{options}");
    let options = parser.render_help().to_string();
    if !options.trim().is_empty() {
        text.push_str(&format!("\nOptions:\n{}\n", options.trim_end()));
    }
    text
}

/// The lines on the flags in front of the command.
pub(crate) fn global_options() -> String {
    let mut parser = GlobalFlags::augment_args(bare("hull")).help_template("{options}");
    let options = parser.render_help().to_string();
    format!("{}\n", options.trim_end())
}

/// The help of a group, or of everything.
fn help(path: &[String]) -> Outcome {
    output::text(&commands::overview(path.first().map(String::as_str)))?;
    Ok(DONE)
}

#[cfg(test)]
mod tests;

//! `hull login`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::credentials;
use crate::output;
use crate::session::Session;
use hull_api::wire::system::{AuthConfig, AuthResponse};
use std::io::{BufRead as _, IsTerminal as _, Read as _};

command! {
    names: ["login"], about: "Keep credentials for a registry",
    usage: "[OPTIONS] [SERVER]", operands: Operands::AtMost(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Password; other users of this machine can see it in the process list
    #[arg(short, long, value_name = "string")]
    password: Option<String>,
    /// Read the password from STDIN
    #[arg(long)]
    password_stdin: bool,
    /// Name of the user
    #[arg(short, long, value_name = "string")]
    username: Option<String>,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let registry = operands.first().map_or("docker.io", String::as_str);
    if flags.password.is_some() && flags.password_stdin {
        return Err(Complaint::new("--password and --password-stdin are mutually exclusive"));
    }
    if flags.password_stdin && flags.username.is_none() {
        return Err(Complaint::new("the --password-stdin option requires --username to be set"));
    }
    if flags.password.is_some() {
        output::warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let asked = AuthConfig {
        username: match flags.username {
            Some(name) => name,
            None => ask("Username: ")?,
        },
        password: match flags.password {
            Some(password) => password,
            None if flags.password_stdin => all_of_stdin()?,
            None => ask_secret()?,
        },
        serveraddress: credentials::key(registry).to_owned(),
        ..AuthConfig::default()
    };
    let client = session.connect().await?;
    let answer: AuthResponse = client.post(["auth"]).json(&asked).read().await?;
    let kept = match answer.identity_token.as_str() {
        "" => asked,
        token => AuthConfig { identitytoken: token.to_owned(), password: String::new(), ..asked },
    };
    credentials::store(&session.settings, &kept)?;
    output::warn(&format!(
        "The credentials are kept, not encrypted, in {}.",
        session.settings.join("config.json").display()
    ));
    if !answer.status.is_empty() {
        output::line(&answer.status)?;
    }
    Ok(DONE)
}

fn ask(prompt: &str) -> Result<String, Complaint> {
    if !std::io::stdin().is_terminal() {
        return Err(Complaint::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    output::text(prompt)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim() {
        "" => Err(Complaint::new("Error: Non-null Username Required")),
        name => Ok(name.to_owned()),
    }
}

/// Asks for a line that is not shown.
fn ask_secret() -> Result<String, Complaint> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    if !std::io::stdin().is_terminal() {
        return Err(Complaint::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    let stdin = rustix::stdio::stdin();
    let before = tcgetattr(stdin).map_err(std::io::Error::from)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    output::text("Password: ")?;
    tcsetattr(stdin, OptionalActions::Drain, &silent).map_err(std::io::Error::from)?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    tcsetattr(stdin, OptionalActions::Drain, &before).map_err(std::io::Error::from)?;
    output::line("")?;
    read?;
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Complaint::new("Error: Password Required")),
        password => Ok(password.to_owned()),
    }
}

fn all_of_stdin() -> Result<String, Complaint> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

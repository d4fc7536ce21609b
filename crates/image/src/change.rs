//! Dockerfile instructions that change a configuration: `--change` of `import` and `commit`.

use std::collections::BTreeMap;

use crate::config::{Config, Empty, Healthcheck};
use crate::error::{Error, Result};
use crate::words;

/// The instructions of a Dockerfile that only change an image's configuration.
const KEYWORDS: &[&str] = &[
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Applies instructions to `config`, in order. What they mean is what they mean in a Dockerfile.
pub(crate) fn apply(config: &mut Config, changes: &[String]) -> Result<()> {
    let mut command_set = false;
    for line in
        changes.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let keyword = keyword.to_ascii_uppercase();
        let rest = rest.trim();
        if !KEYWORDS.contains(&keyword.as_str()) {
            return Err(Error::Invalid(format!("{keyword} is not a valid change command")));
        }
        if rest.is_empty() {
            return Err(Error::Invalid(format!("{keyword} requires at least one argument")));
        }
        match keyword.as_str() {
            "CMD" => {
                config.cmd = Some(command(rest));
                command_set = true;
            }
            "ENTRYPOINT" => {
                config.entrypoint = Some(command(rest));
                if !command_set {
                    config.cmd = None;
                }
            }
            _ => instruction(config, &keyword, rest)?,
        }
    }
    Ok(())
}

fn instruction(config: &mut Config, keyword: &str, rest: &str) -> Result<()> {
    let expand = |text: &str| words::expand(text, &config.env);
    match keyword {
        "ENV" => {
            for (name, value) in pairs("ENV", rest, &config.env)? {
                set_env(&mut config.env, &name, &value);
            }
        }
        "LABEL" => {
            let labels = pairs("LABEL", rest, &config.env)?;
            config.labels.get_or_insert_with(BTreeMap::new).extend(labels);
        }
        "EXPOSE" => {
            let ports = words::split(rest, &config.env)
                .iter()
                .map(|port| expose(port))
                .collect::<Result<Vec<_>>>()?;
            let exposed = config.exposed_ports.get_or_insert_with(BTreeMap::new);
            exposed.extend(ports.into_iter().flatten().map(|port| (port, Empty {})));
        }
        "VOLUME" => {
            let paths = exec_form(rest).unwrap_or_else(|| words::split(rest, &config.env));
            if paths.iter().any(String::is_empty) {
                return Err(Error::Invalid("VOLUME specified can not be an empty string".to_owned()));
            }
            config
                .volumes
                .get_or_insert_with(BTreeMap::new)
                .extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => config.user = expand(rest),
        "WORKDIR" => config.working_dir = join(&config.working_dir, &expand(rest)),
        "STOPSIGNAL" => {
            let signal = expand(rest);
            hull_oci::Signal::parse(&signal).map_err(|error| Error::Invalid(error.to_string()))?;
            config.stop_signal = signal;
        }
        "ONBUILD" => {
            on_build(rest)?;
            config.on_build.get_or_insert_default().push(rest.to_owned());
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        other => return Err(Error::Invalid(format!("{other} is not a valid change command"))),
    }
    Ok(())
}

/// `["a", "b"]`, if that is what it is.
fn exec_form(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn command(text: &str) -> Vec<String> {
    exec_form(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// `NAME=value NAME="other value"`, or the old `NAME all the rest`.
fn pairs(keyword: &str, rest: &str, env: &[String]) -> Result<Vec<(String, String)>> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let Some((name, value)) = rest.split_once(char::is_whitespace) else {
            return Err(Error::Invalid(format!("{keyword} must have two arguments")));
        };
        return Ok(vec![(name.to_owned(), words::expand(value.trim(), env))]);
    }
    let split = words::split(rest, env);
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(Error::Invalid(format!("{keyword} names can not be blank"))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => {
            let text = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
            Err(Error::Invalid(text))
        }
    };
    split.iter().map(pair).collect()
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let variable = format!("{name}={value}");
    let same = |other: &&mut String| other.split_once('=').map_or(other.as_str(), |(name, _)| name) == name;
    match env.iter_mut().find(same) {
        Some(old) => *old = variable,
        None => env.push(variable),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`: the ports, each with its protocol.
fn expose(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::Invalid(format!("invalid containerPort: {text}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::Invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) =
        (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    match first <= last {
        true => Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect()),
        false => Err(invalid()),
    }
}

/// Relative directories are below the earlier one.
fn join(before: &str, path: &str) -> String {
    let full = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{before}/{path}"),
    };
    let mut parts = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn on_build(rest: &str) -> Result<()> {
    let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" => Err(Error::Invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned())),
        "MAINTAINER" | "FROM" => {
            Err(Error::Invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")))
        }
        _ => Ok(()),
    }
}

/// `NONE`, or `[--interval=30s …] CMD …`.
fn healthcheck(rest: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some((flag, more)) =
        rest.strip_prefix("--").and_then(|flags| flags.split_once(char::is_whitespace))
    {
        set_flag(&mut check, flag)?;
        rest = more.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), command.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("NONE", _) => return Err(Error::Invalid("HEALTHCHECK NONE takes no arguments".to_owned())),
        ("CMD", "") => return Err(Error::Invalid("Missing command after HEALTHCHECK CMD".to_owned())),
        ("CMD", command) => match exec_form(command) {
            Some(words) => [vec!["CMD".to_owned()], words].concat(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        (other, _) => return Err(Error::Invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(check)
}

fn set_flag(check: &mut Healthcheck, flag: &str) -> Result<()> {
    let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
    let wrong = |reason: &str| Error::Invalid(format!("HEALTHCHECK --{name}={value}: {reason}"));
    let time = || words::duration(value).ok_or_else(|| wrong("invalid duration"));
    match name {
        "interval" => check.interval = time()?,
        "timeout" => check.timeout = time()?,
        "start-period" => check.start_period = time()?,
        "start-interval" => check.start_interval = time()?,
        "retries" => {
            let retries = value.parse().ok().filter(|retries| *retries >= 1);
            check.retries = retries.ok_or_else(|| wrong("--retries must be at least 1"))?;
        }
        _ => return Err(Error::Invalid(format!("unknown flag: --{name}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<Config> {
        let mut config = Config { env: vec!["PATH=/bin".to_owned()], ..Config::default() };
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn every_instruction() {
        let config = changed(&[
            "CMD [\"sh\", \"-l\"]",
            "env PATH=$PATH:/opt A='b c' D=\"e ${A:-x}\"",
            "ENV OLD two words",
            "EXPOSE 80 53/udp 1-3",
            "LABEL a=b \"c d\"=e",
            "ONBUILD RUN true",
            "STOPSIGNAL SIGINT",
            "USER app:app",
            "VOLUME [\"/data\"]",
            "WORKDIR /a/./b",
            "WORKDIR ../c",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.env, ["PATH=/bin:/opt", "A=b c", "D=e x", "OLD=two words"]);
        let ports: Vec<_> = config.exposed_ports.unwrap().into_keys().collect();
        assert_eq!(ports, ["1/tcp", "2/tcp", "3/tcp", "53/udp", "80/tcp"]);
        assert_eq!(config.labels.unwrap().get("c d").map(String::as_str), Some("e"));
        assert_eq!(config.on_build.unwrap(), ["RUN true"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app:app", "/a/c"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl localhost"]);
    }

    #[test]
    fn entrypoint_forgets_an_inherited_command() {
        let mut config = Config { cmd: Some(vec!["old".to_owned()]), ..Config::default() };
        apply(&mut config, &["ENTRYPOINT /run me".to_owned()]).unwrap();
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "/run me"]);
        assert_eq!(config.cmd, None);
    }

    #[test]
    fn refuses() {
        let message = |change: &str| changed(&[change]).unwrap_err().to_string();
        assert_eq!(message("RUN true"), "RUN is not a valid change command");
        assert_eq!(message("FOO"), "FOO is not a valid change command");
        assert_eq!(message("CMD"), "CMD requires at least one argument");
        assert_eq!(message("ENV A"), "ENV must have two arguments");
        assert_eq!(message("EXPOSE http"), "invalid containerPort: http");
        assert_eq!(message("STOPSIGNAL SIGFOO"), "invalid signal: SIGFOO");
        assert!(message("ENV A=1 B").contains("can't find ="));
        assert!(message("HEALTHCHECK --retries=0 CMD x").contains("at least 1"));
    }
}

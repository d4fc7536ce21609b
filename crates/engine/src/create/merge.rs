//! A container's configuration: the request's, and the image's where the request says nothing. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use hull_image::Config as ImageConfig;

use crate::model::{ContainerConfig, Healthcheck, Port, Ports, in_ranges};
use crate::{Error, Result};

/// Fills in the image's defaults.
pub(super) fn defaults(config: &mut ContainerConfig, image: &ImageConfig) -> Result<()> {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    // An image's port that is no port is the image's mistake, not the user's.
    let exposed = image.exposed_ports.iter().flatten().filter_map(|(port, _)| port.parse::<Port>().ok());
    expose(&mut config.exposed_ports, exposed);
    merge_environment(config, image);
    for (name, value) in image.labels.iter().flatten() {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    merge_command(config, image)?;
    merge_healthcheck(config, image);
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    config.volumes.extend(image.volumes.iter().flatten().map(|(path, _)| path.clone()));
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
    if config.on_build.is_none() {
        config.on_build.clone_from(&image.on_build);
    }
    Ok(())
}

/// Exposes further ports.
fn expose(exposed: &mut BTreeSet<Ports>, more: impl Iterator<Item = Port>) {
    let all: Vec<Port> = exposed.iter().flat_map(|ports| ports.each()).chain(more).collect();
    *exposed = in_ranges(all);
}

/// A configuration for an image of a container: `own`, and the container's where it says nothing.
pub(crate) fn on_top(mut own: ContainerConfig, container: &ContainerConfig) -> ContainerConfig {
    let or = |own: &mut String, container: &String| {
        if own.is_empty() {
            own.clone_from(container);
        }
    };
    or(&mut own.user, &container.user);
    or(&mut own.working_dir, &container.working_dir);
    or(&mut own.stop_signal, &container.stop_signal);
    expose(&mut own.exposed_ports, container.exposed_ports.iter().flat_map(|ports| ports.each()));
    own.volumes.extend(container.volumes.iter().cloned());
    own.env = with_missing(std::mem::take(&mut own.env), &container.env);
    for (name, value) in &container.labels {
        own.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if own.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if own.cmd.as_ref().is_none_or(Vec::is_empty) {
            own.cmd.clone_from(&container.cmd);
        }
        if own.entrypoint.is_none() {
            own.entrypoint.clone_from(&container.entrypoint);
        }
    }
    own.healthcheck = own.healthcheck.or_else(|| container.healthcheck.clone());
    own.shell = own.shell.or_else(|| container.shell.clone());
    own.on_build = own.on_build.or_else(|| container.on_build.clone());
    own
}

/// `own`, and those of `other` whose names it does not have.
fn with_missing(own: Vec<String>, other: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let names: Vec<_> = own.iter().map(|entry| name(entry)).collect();
    let missing = other.iter().filter(|entry| !names.contains(&name(entry))).cloned();
    own.into_iter().chain(missing.collect::<Vec<_>>()).collect()
}

fn merge_environment(config: &mut ContainerConfig, image: &ImageConfig) {
    config.env = with_missing(std::mem::take(&mut config.env), &image.env);
}

fn merge_command(config: &mut ContainerConfig, image: &ImageConfig) -> Result<()> {
    let empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if empty(&config.entrypoint) {
        if empty(&config.cmd) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        // An empty list, unlike none at all, takes the image's entry point away.
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if config.entrypoint.as_deref().is_some_and(|words| words == [""]) {
        config.entrypoint = None;
    }
    if empty(&config.entrypoint) && empty(&config.cmd) {
        return Err(Error::invalid("no command specified"));
    }
    Ok(())
}

fn merge_healthcheck(config: &mut ContainerConfig, image: &ImageConfig) {
    let Some(inherited) = image.healthcheck.as_ref().map(healthcheck) else { return };
    let Some(own) = &mut config.healthcheck else {
        config.healthcheck = Some(inherited);
        return;
    };
    if own.test.is_empty() {
        own.test = inherited.test;
    }
    let or = |own: &mut Duration, inherited: Duration| {
        if own.is_zero() {
            *own = inherited;
        }
    };
    or(&mut own.interval, inherited.interval);
    or(&mut own.timeout, inherited.timeout);
    or(&mut own.start_period, inherited.start_period);
    or(&mut own.start_interval, inherited.start_interval);
    if own.retries == 0 {
        own.retries = inherited.retries;
    }
}

fn healthcheck(image: &hull_image::Healthcheck) -> Healthcheck {
    let time = |nanoseconds: i64| Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    Healthcheck {
        test: image.test.clone(),
        interval: time(image.interval),
        timeout: time(image.timeout),
        start_period: time(image.start_period),
        start_interval: time(image.start_interval),
        retries: u32::try_from(image.retries).unwrap_or(0),
    }
}

/// The program and its arguments.
pub(super) fn command(config: &ContainerConfig) -> Option<(String, Vec<String>)> {
    let words = [&config.entrypoint, &config.cmd];
    let mut words = words.into_iter().flatten().flatten().cloned();
    Some((words.next()?, words.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(String::from).collect())
    }

    fn merged(change: impl FnOnce(&mut ContainerConfig)) -> Result<String> {
        let image =
            ImageConfig { entrypoint: words("/entry"), cmd: words("serve now"), ..ImageConfig::default() };
        let mut config = ContainerConfig::default();
        change(&mut config);
        defaults(&mut config, &image)?;
        let (path, args) = command(&config).unwrap();
        Ok([&[path], &args[..]].concat().join(" "))
    }

    #[test]
    fn commands_and_entry_points_combine_as_in_docker() {
        assert_eq!(merged(|_| {}).unwrap(), "/entry serve now");
        assert_eq!(merged(|config| config.cmd = words("sh")).unwrap(), "/entry sh");
        assert_eq!(merged(|config| config.entrypoint = words("/mine")).unwrap(), "/mine");
        let cleared = merged(|config| {
            config.entrypoint = Some(vec![String::new()]);
            config.cmd = words("sh -c x");
        });
        assert_eq!(cleared.unwrap(), "sh -c x");
        let nothing = merged(|config| config.entrypoint = Some(vec![String::new()]));
        assert_eq!(nothing.unwrap_err().message, "no command specified");
    }

    #[test]
    fn the_users_environment_and_labels_win() {
        let image = ImageConfig {
            env: ["A=image", "B=image"].map(String::from).to_vec(),
            cmd: words("x"),
            labels: Some([("l".to_owned(), "image".to_owned()), ("m".to_owned(), "image".to_owned())].into()),
            ..ImageConfig::default()
        };
        let mut config = ContainerConfig { env: vec!["A=mine".into()], ..ContainerConfig::default() };
        config.labels.insert("l".into(), "mine".into());
        defaults(&mut config, &image).unwrap();
        assert_eq!(config.env, ["A=mine", "B=image"]);
        assert_eq!(config.labels["l"], "mine");
        assert_eq!(config.labels["m"], "image");
    }
}

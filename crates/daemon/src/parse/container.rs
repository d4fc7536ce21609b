//! Containers and exec sessions as asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use hull_api::wire::container::{ContainerConfig, HealthConfig};
use hull_api::wire::exec::ExecCreateRequest;
use hull_api::wire::{Set, StrSlice};
use hull_engine::{Error, model};

use super::host;
use crate::call::invalid;

/// Exposed ports, those that follow each other together.
fn exposed(wire: &Set) -> Result<BTreeSet<model::Ports>, Error> {
    let ports = wire.keys().map(|port| port.parse()).collect::<Result<Vec<_>, Error>>()?;
    Ok(model::in_ranges(ports))
}

/// The ports that a configuration exposes, in the words of who has named them.
fn as_they_came(config: &model::ContainerConfig) -> Vec<String> {
    let bare = |port: &model::Port| {
        port.protocol == model::Protocol::Tcp && config.bare_ports.contains(&port.number)
    };
    let ports = config.exposed_ports.iter().flat_map(|ports| ports.each());
    ports.map(|port| if bare(&port) { port.number.to_string() } else { port.to_string() }).collect()
}

pub(crate) fn config(wire: ContainerConfig) -> Result<model::ContainerConfig, Error> {
    Ok(model::ContainerConfig {
        hostname: wire.hostname,
        domainname: wire.domainname,
        user: wire.user,
        attach_stdin: wire.attach_stdin,
        attach_stdout: wire.attach_stdout,
        attach_stderr: wire.attach_stderr,
        exposed_ports: exposed(&wire.exposed_ports)?,
        bare_ports: wire.exposed_ports.keys().filter_map(|port| port.parse().ok()).collect(),
        tty: wire.tty,
        open_stdin: wire.open_stdin,
        stdin_once: wire.stdin_once,
        env: wire.env.unwrap_or_default(),
        cmd: wire.cmd.map(|words| words.0),
        healthcheck: wire.healthcheck.map(healthcheck).transpose()?,
        args_escaped: wire.args_escaped,
        image: wire.image,
        volumes: wire.volumes.unwrap_or_default().into_keys().collect(),
        working_dir: wire.working_dir,
        entrypoint: wire.entrypoint.map(|words| words.0),
        network_disabled: wire.network_disabled,
        mac_address: wire.mac_address,
        on_build: wire.on_build,
        labels: wire.labels,
        stop_signal: wire.stop_signal,
        stop_timeout: wire.stop_timeout,
        shell: wire.shell.map(|words| words.0),
    })
}

/// Docker's bounds: a duration is 0 (inherited) or at least a millisecond.
fn healthcheck(wire: HealthConfig) -> Result<model::Healthcheck, Error> {
    let duration = |name: &str, nanoseconds: i64| match u64::try_from(nanoseconds) {
        Ok(0) => Ok(Duration::ZERO),
        Ok(n) if n >= 1_000_000 => Ok(Duration::from_nanos(n)),
        _ => Err(invalid(format!("{name} in Healthcheck cannot be less than 1ms"))),
    };
    Ok(model::Healthcheck {
        test: wire.test,
        interval: duration("Interval", wire.interval)?,
        timeout: duration("Timeout", wire.timeout)?,
        start_period: duration("StartPeriod", wire.start_period)?,
        start_interval: duration("StartInterval", wire.start_interval)?,
        retries: u32::try_from(wire.retries)
            .map_err(|_| invalid("Retries in Healthcheck cannot be negative"))?,
    })
}

/// The body of `/containers/{id}/exec`.
pub(crate) fn exec_config(wire: ExecCreateRequest) -> Result<model::ExecConfig, Error> {
    if wire.cmd.as_deref().unwrap_or_default().is_empty() {
        return Err(invalid("No exec command specified"));
    }
    Ok(model::ExecConfig {
        user: wire.user,
        privileged: wire.privileged,
        tty: wire.tty,
        console_size: wire.console_size.map(host::console_size),
        attach_stdin: wire.attach_stdin,
        attach_stdout: wire.attach_stdout,
        attach_stderr: wire.attach_stderr,
        detach_keys: Some(wire.detach_keys).filter(|keys| !keys.is_empty()),
        env: wire.env.unwrap_or_default(),
        working_dir: wire.working_dir,
        cmd: wire.cmd.unwrap_or_default(),
    })
}

/// The same on the way back.
pub(crate) fn wire_config(config: &model::ContainerConfig) -> ContainerConfig {
    let set = |keys: Vec<String>| -> Set { keys.into_iter().map(|key| (key, Default::default())).collect() };
    let words = |words: &Option<Vec<String>>| words.clone().map(StrSlice);
    ContainerConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: set(as_they_came(config)),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: Some(config.env.clone()).filter(|env| !env.is_empty()),
        cmd: words(&config.cmd),
        healthcheck: config.healthcheck.as_ref().map(wire_healthcheck),
        args_escaped: config.args_escaped,
        image: config.image.clone(),
        volumes: match config.volumes.is_empty() {
            true => None,
            false => Some(set(config.volumes.iter().cloned().collect())),
        },
        working_dir: config.working_dir.clone(),
        entrypoint: words(&config.entrypoint),
        network_disabled: config.network_disabled,
        mac_address: config.mac_address.clone(),
        on_build: config.on_build.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        shell: words(&config.shell).filter(|shell| !shell.0.is_empty()),
    }
}

fn wire_healthcheck(check: &model::Healthcheck) -> HealthConfig {
    let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: check.test.clone(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: i64::from(check.retries),
    }
}

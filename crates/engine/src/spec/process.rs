//! The process: arguments, environment, limits, capabilities.

use hull_oci::runtime::{
    BoxBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, User,
};

use super::{Facts, SecurityOptions, built, capabilities};
use crate::model::{Container, ExecConfig, Ulimit};
use crate::{Error, Result};

/// Where programs are looked for if neither image nor user say.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where `--init` puts its program.
pub(super) const INIT: &str = "/sbin/docker-init";

/// The container's first process. Its user is resolved by the runtime, inside the root.
pub(super) fn of(container: &Container, security: &SecurityOptions, facts: &Facts<'_>) -> Result<Process> {
    let config = &container.config;
    let command = || std::iter::once(container.path.clone()).chain(container.args.iter().cloned());
    let args: Vec<String> = match facts.init {
        Some(_) => [INIT.to_owned(), "--".to_owned()].into_iter().chain(command()).collect(),
        None => command().collect(),
    };
    let mut user = User::default();
    user.set_umask(container.host.umask);
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    let mut process = ProcessBuilder::default()
        .terminal(config.tty)
        .user(user)
        .args(args)
        .env(environment(container, facts))
        .cwd(cwd)
        .capabilities(capabilities::sets(&capabilities::of(&container.host, facts.capabilities)?)?)
        .rlimits(rlimits(container, facts.ulimits)?)
        .no_new_privileges(security.no_new_privileges.unwrap_or(facts.no_new_privileges))
        .oom_score_adj(container.host.oom_score_adj);
    if let Some(profile) = security.apparmor.as_ref().filter(|_| facts.apparmor) {
        process = process.apparmor_profile(profile.clone());
    }
    let [rows, cols] = container.host.console_size;
    if config.tty && rows > 0 && cols > 0 {
        process = process.console_size(built(BoxBuilder::default().height(rows).width(cols).build())?);
    }
    built(process.build())
}

/// A further process in a container.
pub(crate) fn exec(container: &Container, exec: &ExecConfig, facts: &Facts<'_>) -> Result<Process> {
    let security = SecurityOptions::parse(container.host.security_opt.as_deref().unwrap_or_default())?;
    let mut inherited = container.clone();
    inherited.config.tty = exec.tty;
    inherited.host.privileged |= exec.privileged;
    inherited.host.console_size = exec.console_size.unwrap_or_default();
    if !exec.working_dir.is_empty() {
        inherited.config.working_dir.clone_from(&exec.working_dir);
    }
    let mut process = of(&inherited, &security, facts)?;
    let mut env = environment(&inherited, facts);
    replace_or_append(&mut env, &exec.env);
    process.set_args(Some(exec.cmd.clone())).set_env(Some(env));
    Ok(process)
}

/// The environment: what every container has, what is told of links, then the container's own.
fn environment(container: &Container, facts: &Facts<'_>) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", container.config.hostname)];
    if container.config.tty {
        env.push("TERM=xterm".to_owned());
    }
    replace_or_append(&mut env, &facts.link_variables);
    replace_or_append(&mut env, &container.config.env);
    env
}

/// Later values win; a name without a value takes the variable away.
pub(crate) fn replace_or_append(env: &mut Vec<String>, more: &[String]) {
    for entry in more {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |old: &String| old.split('=').next() == Some(name);
        if !entry.contains('=') {
            env.retain(|old| !same(old));
        } else if let Some(place) = env.iter().position(same) {
            env[place].clone_from(entry);
        } else {
            env.push(entry.clone());
        }
    }
}

fn rlimits(container: &Container, defaults: &[Ulimit]) -> Result<Vec<PosixRlimit>> {
    let own = container.host.resources.ulimits.as_deref().unwrap_or_default();
    let unnamed = defaults.iter().filter(|default| own.iter().all(|limit| limit.name != default.name));
    own.iter().chain(unnamed).map(rlimit).collect()
}

fn rlimit(limit: &Ulimit) -> Result<PosixRlimit> {
    let kind = rlimit_type(&limit.name)
        .ok_or_else(|| Error::invalid(format!("invalid ulimit type: {}", limit.name)))?;
    // -1 is RLIM_INFINITY, which is all ones.
    let (soft, hard) = (limit.soft as u64, limit.hard as u64);
    built(PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build())
}

fn rlimit_type(name: &str) -> Option<PosixRlimitType> {
    use PosixRlimitType::*;
    Some(match name {
        "core" => RlimitCore,
        "cpu" => RlimitCpu,
        "data" => RlimitData,
        "fsize" => RlimitFsize,
        "locks" => RlimitLocks,
        "memlock" => RlimitMemlock,
        "msgqueue" => RlimitMsgqueue,
        "nice" => RlimitNice,
        "nofile" => RlimitNofile,
        "nproc" => RlimitNproc,
        "rss" => RlimitRss,
        "rtprio" => RlimitRtprio,
        "rttime" => RlimitRttime,
        "sigpending" => RlimitSigpending,
        "stack" => RlimitStack,
        "as" => RlimitAs,
        _ => return None,
    })
}

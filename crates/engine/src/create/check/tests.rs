//! What is refused, and in which words.

use super::*;
use crate::model::{ContainerUpdate, Resources};

fn machine() -> Machine {
    let mut machine = Machine::look().unwrap();
    machine.capabilities = Vec::new();
    (machine.processors, machine.cpus, machine.memory_nodes) = (2, "0-1".into(), "0".into());
    let limits = &mut machine.limits;
    (limits.memory, limits.swap, limits.cpu_quota, limits.cpuset, limits.pids) =
        (true, true, true, true, true);
    (limits.swappiness, limits.oom_kill_disable, limits.io_weight, limits.io_throttle) =
        (true, true, true, true);
    machine
}

fn refused(mut resources: Resources) -> String {
    super::resources(&mut resources, &machine(), false).unwrap_err().message
}

#[test]
fn limits_have_dockers_bounds() {
    let none = Resources::default;
    assert_eq!(refused(Resources { memory: 4 << 20, ..none() }), "Minimum memory limit allowed is 6MB");
    assert!(
        refused(Resources { memory: 8 << 20, memory_swap: 7 << 20, ..none() })
            .starts_with("Minimum memoryswap")
    );
    assert_eq!(
        refused(Resources { nano_cpus: 3_000_000_000, ..none() }),
        "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
    );
    assert_eq!(
        refused(Resources { cpuset_cpus: "0-9".into(), ..none() }),
        "Requested CPUs are not available - requested 0-9, available: 0-1"
    );
    assert_eq!(
        refused(Resources { cpuset_mems: "a".into(), ..none() }),
        "Invalid value a for cpuset mems: invalid format: a"
    );
    let mut unlimited = Resources { memory: 8 << 20, memory_swap: -1, ..none() };
    assert!(super::resources(&mut unlimited, &machine(), false).is_ok());
}

#[test]
fn what_the_machine_lacks_is_discarded_and_said() {
    let mut poor = machine();
    (poor.limits.swap, poor.limits.pids, poor.limits.oom_kill_disable) = (false, false, false);
    let mut wanted = Resources {
        memory: 8 << 20,
        oom_kill_disable: Some(true),
        pids_limit: Some(5),
        ..Resources::default()
    };
    let warnings = super::resources(&mut wanted, &poor, false).unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!((wanted.memory_swap, wanted.oom_kill_disable, wanted.pids_limit), (-1, None, None));
    assert!(warnings[0].ends_with("Memory limited without swap."));
    assert!(warnings[1].ends_with("OomKillDisable discarded."));
}

#[test]
fn configurations_are_checked() {
    let refuse = |change: fn(&mut ContainerConfig)| {
        let mut config = ContainerConfig::default();
        change(&mut config);
        check_config(&config).unwrap_err().message
    };
    assert_eq!(
        refuse(|config| config.working_dir = "srv".into()),
        "the working directory 'srv' is invalid, it needs to be an absolute path"
    );
    assert_eq!(refuse(|config| config.stop_signal = "SIGFROB".into()), "invalid signal: SIGFROB");
    assert_eq!(refuse(|config| config.env = vec!["=x".into()]), "invalid environment variable: =x");
    refuse(|config| config.hostname = "a b".into());
}

#[test]
fn what_does_not_go_together_is_refused() {
    let refuse = |change: fn(&mut ContainerConfig, &mut HostConfig)| {
        let (mut config, mut host) = (ContainerConfig::default(), HostConfig::default());
        change(&mut config, &mut host);
        request(&config, &mut host, &machine()).unwrap_err().message
    };
    assert_eq!(
        refuse(|_, host| {
            host.auto_remove = true;
            host.restart_policy.condition = RestartCondition::Always;
        }),
        "can't create 'AutoRemove' container with restart policy"
    );
    assert_eq!(
        refuse(|config, host| {
            host.network_mode = "container:x".into();
            config.exposed_ports = ["80".parse().unwrap()].into();
        }),
        "conflicting options: port exposing and the container type network mode"
    );
    assert_eq!(refuse(|_, host| host.ipc_mode = "container:".into()), "invalid IPC mode: container:");
    assert_eq!(
        refuse(|_, host| host.isolation = "hyperv".into()),
        "invalid isolation (hyperv): linux only supports 'default'"
    );
}

#[test]
fn updates_conflict_with_what_is_there() {
    let conflict = |new: Resources, has: Resources| {
        let update = ContainerUpdate { resources: new, restart_policy: None };
        super::update(&update, &has, false).map_err(|error| error.message)
    };
    let none = Resources::default;
    assert_eq!(
        conflict(Resources { nano_cpus: 1, ..none() }, Resources { cpu_quota: 1, ..none() }),
        Err("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set".into())
    );
    let memory = |memory, memory_swap| Resources { memory, memory_swap, ..none() };
    assert!(
        conflict(memory(20, 0), memory(5, 10)).unwrap_err().starts_with("Memory limit should be smaller")
    );
    for (has, update, may) in [
        (memory(5, -1), 20, false),
        (none(), 20, false),
        (memory(5, 30), 20, true),
        (memory(5, 10), 10, true),
    ] {
        assert_eq!(conflict(memory(update, 0), has).is_ok(), may);
    }
    assert!(conflict(memory(20, -1), none()).is_ok());
}

//! Limits: their bounds, and what of them this machine has.

use crate::machine::Machine;
use crate::model::{ContainerUpdate, Resources, RestartCondition};
use crate::{Error, Result};

/// Docker's least limit of memory.
const LEAST_MEMORY: i64 = 6 << 20;

/// Checks limits and takes out what the machine does not have; returns warnings of that. An update may name one limit
/// alone that goes with another.
pub(crate) fn resources(wanted: &mut Resources, machine: &Machine, is_update: bool) -> Result<Vec<String>> {
    let mut warnings = Warnings::default();
    memory(wanted, machine, is_update, &mut warnings)?;
    oom_and_pids(wanted, machine, &mut warnings);
    cpu(wanted, machine, &mut warnings)?;
    cpuset(wanted, machine, &mut warnings)?;
    block_io(wanted, machine, &mut warnings)?;
    Ok(warnings.0)
}

#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    /// Says what the kernel does not have, and what became of the wish.
    fn lacks(&mut self, what: &str, discarded: &str) {
        self.0.push(format!("Your kernel does not support {what}. {discarded} discarded."));
    }

    /// The same for a controller that may be there, and not mounted.
    fn missing(&mut self, what: &str, discarded: &str) {
        self.lacks(&format!("{what} or the cgroup is not mounted"), discarded);
    }
}

fn refused(text: &str) -> Result<()> {
    Err(Error::invalid(text))
}

fn memory(wanted: &mut Resources, machine: &Machine, is_update: bool, warnings: &mut Warnings) -> Result<()> {
    wanted.memory_swappiness = wanted.memory_swappiness.filter(|value| *value != -1);
    if wanted.memory != 0 && wanted.memory < LEAST_MEMORY {
        return refused("Minimum memory limit allowed is 6MB");
    }
    if wanted.memory > 0 && !machine.limits.memory {
        warnings.missing("memory limit capabilities", "Limitation");
        (wanted.memory, wanted.memory_swap) = (0, -1);
    }
    if wanted.memory > 0 && wanted.memory_swap != -1 && !machine.limits.swap {
        warnings.0.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without \
             swap."
                .to_owned(),
        );
        wanted.memory_swap = -1;
    }
    if wanted.memory > 0 && wanted.memory_swap > 0 && wanted.memory_swap < wanted.memory {
        return refused("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if wanted.memory == 0 && wanted.memory_swap > 0 && !is_update {
        return refused("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if wanted.memory_swappiness.is_some() && !machine.limits.swappiness {
        warnings.missing("memory swappiness capabilities", "Memory swappiness");
        wanted.memory_swappiness = None;
    }
    if let Some(value) = wanted.memory_swappiness.filter(|value| !(0..=100).contains(value)) {
        return refused(&format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
    }
    if (1..LEAST_MEMORY).contains(&wanted.memory_reservation) {
        return refused("Minimum memory reservation allowed is 6MB");
    }
    if wanted.memory > 0 && wanted.memory_reservation > 0 && wanted.memory < wanted.memory_reservation {
        return refused("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn oom_and_pids(wanted: &mut Resources, machine: &Machine, warnings: &mut Warnings) {
    if !machine.limits.oom_kill_disable {
        if wanted.oom_kill_disable == Some(true) {
            warnings.lacks("OomKillDisable", "OomKillDisable");
        }
        wanted.oom_kill_disable = None;
    }
    if wanted.oom_kill_disable == Some(true) && wanted.memory == 0 {
        warnings.0.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
    if wanted.pids_limit.is_some() && !machine.limits.pids {
        if wanted.pids_limit > Some(0) {
            warnings.missing("PIDs limit capabilities", "PIDs limit");
        }
        wanted.pids_limit = None;
    }
}

fn cpu(wanted: &mut Resources, machine: &Machine, warnings: &mut Warnings) -> Result<()> {
    if wanted.nano_cpus > 0 && wanted.cpu_period > 0 {
        return refused("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if wanted.nano_cpus > 0 && wanted.cpu_quota > 0 {
        return refused("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if wanted.nano_cpus > 0 && !machine.limits.cpu_quota {
        return refused(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    let most = i64::from(machine.processors) * 1_000_000_000;
    if !(0..=most).contains(&wanted.nano_cpus) {
        return refused(&format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            machine.processors
        ));
    }
    if wanted.cpu_shares < 0 {
        return refused(&format!(
            "invalid CPU shares ({}): value must be a positive integer",
            wanted.cpu_shares
        ));
    }
    if wanted.cpu_shares > 0 && !machine.limits.cpu_shares {
        warnings.missing("CPU shares", "Shares");
        wanted.cpu_shares = 0;
    }
    if (wanted.cpu_period != 0 || wanted.cpu_quota != 0) && !machine.limits.cpu_quota {
        warnings.lacks("CPU CFS scheduler", "CPU period/quota");
        (wanted.cpu_period, wanted.cpu_quota) = (0, 0);
    }
    if wanted.cpu_period != 0 && !(1_000..=1_000_000).contains(&wanted.cpu_period) {
        return refused(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if wanted.cpu_quota > 0 && wanted.cpu_quota < 1_000 {
        return refused("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if wanted.cpu_percent > 0 {
        warnings.0.push("linux does not support CPU percent. Percent discarded.".to_owned());
        wanted.cpu_percent = 0;
    }
    Ok(())
}

/// Time for real-time processes, where the kernel shares that out.
pub(super) fn realtime(wanted: &Resources, machine: &Machine) -> Result<()> {
    let (period, runtime) = (wanted.cpu_realtime_period, wanted.cpu_realtime_runtime);
    if (period != 0 || runtime != 0) && !machine.limits.cpu_realtime {
        return refused("kernel does not support CPU real-time scheduler");
    }
    if period != 0 && runtime != 0 && runtime > period {
        return refused("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    Ok(())
}

fn cpuset(wanted: &mut Resources, machine: &Machine, warnings: &mut Warnings) -> Result<()> {
    let any = !wanted.cpuset_cpus.is_empty() || !wanted.cpuset_mems.is_empty();
    if any && !machine.limits.cpuset {
        warnings.missing("cpuset", "Cpuset");
        wanted.cpuset_cpus.clear();
        wanted.cpuset_mems.clear();
    }
    within(&wanted.cpuset_cpus, &machine.cpus, "cpuset cpus", "Requested CPUs")?;
    within(&wanted.cpuset_mems, &machine.memory_nodes, "cpuset mems", "Requested memory nodes")
}

/// Whether all of a list ("0-2,7") is among those that there are.
fn within(list: &str, there: &str, field: &str, what: &str) -> Result<()> {
    /// More than any machine has.
    const MOST: u32 = 8192;
    if list.is_empty() {
        return Ok(());
    }
    let parse = |text: &str| hull_sys::process::parse_list(text, MOST);
    let is_list = list.split(',').all(|part| !part.is_empty()) && !list.contains(char::is_whitespace);
    let wanted = Some(list).filter(|_| is_list).and_then(|list| parse(list).ok());
    let wanted = wanted.ok_or_else(|| {
        let numbers = || list.split([',', '-']).map(|number| number.parse::<u32>());
        let why = match numbers().all(|number| number.is_ok())
            && numbers().flatten().any(|number| number >= MOST)
        {
            true => format!("value of out range, maximum is {MOST}"),
            false => format!("invalid format: {list}"),
        };
        Error::invalid(format!("Invalid value {list} for {field}: {why}"))
    })?;
    let available = parse(there).unwrap_or_default();
    match wanted.iter().all(|number| available.contains(number)) {
        true => Ok(()),
        false => refused(&format!("{what} are not available - requested {list}, available: {there}")),
    }
}

fn block_io(wanted: &mut Resources, machine: &Machine, warnings: &mut Warnings) -> Result<()> {
    if wanted.blkio_weight > 0 && !machine.limits.io_weight {
        warnings.missing("Block I/O weight", "Weight");
        wanted.blkio_weight = 0;
    }
    if wanted.blkio_weight > 0 && !(10..=1000).contains(&wanted.blkio_weight) {
        return refused("Range of blkio weight is from 10 to 1000");
    }
    let some = |list: bool, supported: bool| list && !supported;
    let throttles = machine.limits.io_throttle;
    if some(wanted.blkio_weight_device.iter().flatten().next().is_some(), machine.limits.io_weight_device) {
        warnings.missing("Block I/O weight_device", "Weight-device");
        wanted.blkio_weight_device = Some(Vec::new());
    }
    let lists = [
        (&mut wanted.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
        (&mut wanted.blkio_device_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit"),
        (&mut wanted.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
        (&mut wanted.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
    ];
    for (list, what, discarded) in lists {
        if some(list.iter().flatten().next().is_some(), throttles) {
            warnings.missing(what, discarded);
            *list = Some(Vec::new());
        }
    }
    Ok(())
}

/// Checks what is to change against what a container has: a conflict is with that, not in the request.
pub(crate) fn update(update: &ContainerUpdate, has: &Resources, auto_remove: bool) -> Result<()> {
    let new = &update.resources;
    let cpu = [
        (new.nano_cpus > 0 && has.cpu_period > 0, "Nano CPUs", "CPU Period"),
        (new.nano_cpus > 0 && has.cpu_quota > 0, "Nano CPUs", "CPU Quota"),
        (new.cpu_period > 0 && has.nano_cpus > 0, "CPU Period", "NanoCPUs"),
        (new.cpu_quota > 0 && has.nano_cpus > 0, "CPU Quota", "NanoCPUs"),
    ];
    if let Some((_, what, because)) = cpu.iter().find(|(conflict, ..)| *conflict) {
        return Err(Error::conflict(format!(
            "Conflicting options: {what} cannot be updated as {because} has already been set"
        )));
    }
    // As with Docker, a container without a limit, or with one of its memory only, wants to hear of both.
    if new.memory != 0 && new.memory > has.memory_swap && new.memory_swap == 0 {
        return Err(Error::conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    let restarts = update.restart_policy.is_some_and(|policy| policy.condition != RestartCondition::No);
    if auto_remove && restarts {
        return Err(Error::conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ));
    }
    Ok(())
}

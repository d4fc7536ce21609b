//! Memory, swap and the soft limit, in bytes; -1 is unlimited, 0 is not set.

use hull_oci::runtime::LinuxMemory;

use super::Setting;
use crate::Cgroup;
use crate::error::{Error, Result};
use crate::file;
use crate::hierarchy::Dialect;

pub(super) fn settings(dialect: Dialect, memory: &LinuxMemory) -> Result<Vec<Setting>> {
    match dialect {
        Dialect::V1 => Ok(v1(memory)),
        Dialect::V2 => v2(memory),
    }
}

/// With `checkBeforeUpdate`, a limit below what is in use is refused before anything is killed for it.
pub(super) fn check(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<()> {
    let (true, Some(limit), Some(place)) =
        (memory.check_before_update() == Some(true), set(memory.limit()), cgroup.controller("memory"))
    else {
        return Ok(());
    };
    let usage = match place.hierarchy.dialect() {
        Dialect::V1 => file::number(&place.dir, "memory.usage_in_bytes"),
        Dialect::V2 => file::number(&place.dir, "memory.current"),
    };
    match (usage, u64::try_from(limit)) {
        (Some(usage), Ok(limit)) if usage > limit => {
            Err(Error::Invalid(format!("memory limit {limit} is below the {usage} bytes in use")))
        }
        _ => Ok(()),
    }
}

/// A memory+swap limit without a memory limit refers to the one that is set: version 2 needs both to tell them apart.
pub(super) fn completed(cgroup: &Cgroup, memory: &LinuxMemory) -> LinuxMemory {
    let mut memory = *memory;
    let place = cgroup.controller("memory").filter(|place| place.hierarchy.dialect() == Dialect::V2);
    if let (Some(place), None, Some(_)) = (place, set(memory.limit()), set(memory.swap())) {
        let limit = file::number(&place.dir, "memory.max").and_then(|limit| i64::try_from(limit).ok());
        memory.set_limit(limit);
    }
    memory
}

fn v1(memory: &LinuxMemory) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut push = |file: &str, value: Option<i64>| settings.extend(value.map(|v| Setting::new(file, v)));
    let limit = set(memory.limit());
    // An unlimited memory needs an unlimited memory+swap, which is never the smaller of the two.
    let swap = set(memory.swap()).or(limit.filter(|limit| *limit < 0));
    push("memory.limit_in_bytes", limit);
    push("memory.memsw.limit_in_bytes", swap);
    push("memory.soft_limit_in_bytes", set(memory.reservation()));
    push("memory.use_hierarchy", memory.use_hierarchy().filter(|hierarchical| *hierarchical).map(i64::from));
    push("memory.swappiness", memory.swappiness().and_then(|value| i64::try_from(value).ok()));
    push("memory.oom_control", memory.disable_oom_killer().map(i64::from));
    // The kernel has given it up, as that for all of its own memory before.
    settings.extend(
        set(memory.kernel_tcp()).map(|v| Setting::new("memory.kmem.tcp.limit_in_bytes", v).optional()),
    );
    settings
}

fn v2(memory: &LinuxMemory) -> Result<Vec<Setting>> {
    if memory.disable_oom_killer() == Some(true) {
        return Err(Error::Unsupported("cgroup version 2 cannot disable the OOM killer".to_owned()));
    }
    if memory.swappiness().is_some() {
        return Err(Error::Unsupported("cgroup version 2 has no swappiness per container".to_owned()));
    }
    let mut settings = Vec::new();
    if let Some(swap) = v2_swap(memory)? {
        settings.push(Setting::new("memory.swap.max", or_max(swap)));
    }
    if let Some(limit) = set(memory.limit()) {
        settings.push(Setting::new("memory.max", or_max(limit)));
    }
    if let Some(reservation) = set(memory.reservation()) {
        settings.push(Setting::new("memory.low", or_max(reservation)));
    }
    Ok(settings)
}

/// The specification's `swap` is memory and swap together; version 2 limits swap alone.
fn v2_swap(memory: &LinuxMemory) -> Result<Option<i64>> {
    match (set(memory.swap()), set(memory.limit())) {
        (None, Some(limit)) if limit < 0 => Ok(Some(-1)),
        (None, _) => Ok(None),
        (Some(swap), _) if swap < 0 => Ok(Some(-1)),
        (Some(swap), Some(limit)) if limit > 0 && swap >= limit => Ok(Some(swap - limit)),
        (Some(swap), Some(limit)) if limit > 0 => {
            Err(Error::Invalid(format!("memory+swap limit {swap} is below the memory limit {limit}")))
        }
        (Some(_), _) => Err(Error::Invalid("a memory+swap limit needs a memory limit".to_owned())),
    }
}

fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::texts;
    use hull_oci::runtime::LinuxMemoryBuilder;

    fn both(limit: i64, swap: i64) -> LinuxMemory {
        LinuxMemoryBuilder::default().limit(limit).swap(swap).build().unwrap()
    }

    #[test]
    fn version_1_counts_swap_together_with_memory() {
        let settings = settings(Dialect::V1, &both(100, 300)).unwrap();
        assert_eq!(texts(&settings), ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=300"]);
    }

    #[test]
    fn version_2_counts_swap_alone() {
        let texts = |m: LinuxMemory| texts(&settings(Dialect::V2, &m).unwrap());
        assert_eq!(texts(both(100, 300)), ["memory.swap.max=200", "memory.max=100"]);
        assert_eq!(texts(both(100, 100)), ["memory.swap.max=0", "memory.max=100"]);
        assert_eq!(texts(both(100, -1)), ["memory.swap.max=max", "memory.max=100"]);
        assert_eq!(texts(both(100, 0)), ["memory.max=100"]);
        assert_eq!(texts(both(-1, 0)), ["memory.swap.max=max", "memory.max=max"]);
    }

    #[test]
    fn version_2_refuses_what_it_cannot_mean() {
        assert!(matches!(settings(Dialect::V2, &both(300, 100)), Err(Error::Invalid(_))));
        assert!(matches!(settings(Dialect::V2, &both(0, 100)), Err(Error::Invalid(_))));
        let swappiness = LinuxMemoryBuilder::default().swappiness(60_u64).build().unwrap();
        assert!(matches!(settings(Dialect::V2, &swappiness), Err(Error::Unsupported(_))));
    }
}

//! From the limits of the OCI runtime specification to control files.
//!
//! Each resource is a pure function from its section of the specification to [`Setting`]s, one for each
//! version of cgroups; this module alone writes them.

pub(crate) mod cpu;
mod hugetlb;
pub(crate) mod io;
mod memory;
mod network;
mod pids;
mod rdma;

use std::collections::HashMap;
use std::path::Path;

use hull_oci::runtime::LinuxResources;

use crate::error::{Error, Result};
use crate::hierarchy::Dialect;
use crate::{Cgroup, devices, file};

/// One control file and what is to be written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    file: String,
    value: String,
    /// Whether it is left out where the kernel has no such file.
    optional: bool,
}

impl Setting {
    fn new(file: impl Into<String>, value: impl ToString) -> Self {
        Self { file: file.into(), value: value.to_string(), optional: false }
    }

    fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

pub(crate) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    if let Some(cpu) = resources.cpu() {
        set(cgroup, "cpuset", |_| Ok(cpu::sets(cpu)))?;
        let cpu = cpu::completed(cgroup, cpu);
        set(cgroup, "cpu", |dialect| cpu::settings(dialect, &cpu))?;
    }
    if let Some(memory) = resources.memory() {
        memory::check(cgroup, memory)?;
        let memory = memory::completed(cgroup, memory);
        set(cgroup, "memory", |dialect| memory::settings(dialect, &memory))?;
    }
    if let Some(pids) = resources.pids() {
        set(cgroup, "pids", |_| Ok(pids::settings(pids)))?;
    }
    if let Some(io) = resources.block_io() {
        let controller = if cgroup.controller("blkio").is_some() { "blkio" } else { "io" };
        let weight = io::WeightFile::of(cgroup.controller(controller));
        set(cgroup, controller, |dialect| Ok(io::settings(dialect, &weight, io)))?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        set(cgroup, "hugetlb", |dialect| hugetlb::settings(dialect, limit))?;
    }
    if let Some(network) = resources.network() {
        set(cgroup, "net_cls", |dialect| network::class(dialect, network))?;
        set(cgroup, "net_prio", |dialect| network::priorities(dialect, network))?;
    }
    if let Some(rdma) = resources.rdma() {
        set(cgroup, "rdma", |_| Ok(rdma::settings(rdma)))?;
    }
    if let Some(rules) = resources.devices() {
        devices::apply(cgroup, rules)?;
    }
    match resources.unified() {
        Some(files) if !files.is_empty() => set_unified(cgroup, files),
        _ => Ok(()),
    }
}

/// Writes the settings of one controller, in the format of the hierarchy it lives in.
fn set(
    cgroup: &Cgroup,
    controller: &str,
    settings: impl FnOnce(Dialect) -> Result<Vec<Setting>>,
) -> Result<()> {
    match cgroup.controller(controller) {
        Some(place) => write_all(&place.dir, settings(place.hierarchy.dialect())?),
        None => match settings(Dialect::V1)?.first() {
            Some(Setting { file, value, .. }) => Err(Error::Unsupported(format!(
                "this host has no {controller} controller for cgroups, cannot set {file} to {value}"
            ))),
            None => Ok(()),
        },
    }
}

/// Some limits bound each other (memory and memory+swap, quota and period), so the order that works depends on
/// what is set already: what is refused at first is tried once more after the others.
fn write_all(dir: &Path, settings: Vec<Setting>) -> Result<()> {
    let mut refused = Vec::new();
    for setting in settings {
        match write(dir, &setting) {
            Ok(()) => {}
            Err(Error::Invalid(_)) => refused.push(setting),
            Err(error) => return Err(error),
        }
    }
    refused.iter().try_for_each(|setting| write(dir, setting))
}

fn write(dir: &Path, Setting { file, value, optional }: &Setting) -> Result<()> {
    match file::set(dir, file, value) {
        Err(Error::Unsupported(_)) if *optional => Ok(()),
        written => written,
    }
}

/// The `unified` section: files of version 2 by name, written as they are.
fn set_unified(cgroup: &Cgroup, files: &HashMap<String, String>) -> Result<()> {
    let place = cgroup.unified().ok_or_else(|| {
        Error::Unsupported("limits by file name (unified) need cgroup version 2".to_owned())
    })?;
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    for (name, value) in files {
        if name.contains('/') || !name.contains('.') {
            return Err(Error::Invalid(format!("unified limit {name:?} is no cgroup file name")));
        }
        // Each device has a line of its own, and the kernel takes one at a time.
        value.lines().try_for_each(|line| file::set(&place.dir, name, line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Setting;

    /// Settings as `file=value`.
    pub(super) fn texts(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|Setting { file, value, .. }| format!("{file}={value}")).collect()
    }
}

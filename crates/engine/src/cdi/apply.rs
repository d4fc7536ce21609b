//! What a device needs, put into a container's specification.

use std::path::{Path, PathBuf};

use hull_oci::runtime::{
    Hook as OciHook, HookBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, MountBuilder, Spec,
};

use super::{Edits, Hook, Mount, Node};
use crate::machine;
use crate::spec::HostDevice;
use crate::{Error, Result};

pub(super) fn edits(
    edits: &Edits,
    privileged: bool,
    spec: &mut Spec,
    groups: &mut Vec<String>,
) -> Result<()> {
    if let Some(process) = spec.process_mut() {
        let env = process.env_mut().get_or_insert_default();
        crate::spec::replace_or_append(env, &edits.env);
    }
    for node in &edits.device_nodes {
        add_node(node, privileged, spec)?;
    }
    for mount in &edits.mounts {
        add_mount(mount, spec)?;
    }
    for hook in &edits.hooks {
        add_hook(hook, spec)?;
    }
    groups.extend(edits.additional_gids.iter().map(ToString::to_string));
    Ok(())
}

fn failed(what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("CDI device injection failed: {what}"))
}

fn add_node(node: &Node, privileged: bool, spec: &mut Spec) -> Result<()> {
    let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let found = match node.kind.as_str() {
        // All that the kernel has to know is said.
        "c" | "b" | "u" if node.major != 0 => HostDevice {
            path: node.path.clone().into(),
            block: node.kind == "b",
            major: node.major,
            minor: node.minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            access: String::new(),
        },
        _ => machine::device(Path::new(host), Path::new(&node.path), "")
            .ok_or_else(|| failed(format!("failed to stat CDI host device \"{host}\": no such device")))?,
    };
    let kind = if found.block { LinuxDeviceType::B } else { LinuxDeviceType::C };
    let device = LinuxDeviceBuilder::default()
        .path(&found.path)
        .typ(kind)
        .major(found.major)
        .minor(found.minor)
        .file_mode(node.file_mode.unwrap_or(found.mode))
        .uid(node.uid.unwrap_or(found.uid))
        .gid(node.gid.unwrap_or(found.gid))
        .build()
        .map_err(failed)?;
    let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
    let rule = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .major(found.major)
        .minor(found.minor)
        .access(access)
        .build()
        .map_err(failed)?;
    insert_node(device, (!privileged).then_some(rule), spec);
    Ok(())
}

fn insert_node(device: LinuxDevice, rule: Option<LinuxDeviceCgroup>, spec: &mut Spec) {
    let Some(linux) = spec.linux_mut() else { return };
    let nodes = linux.devices_mut().get_or_insert_default();
    nodes.retain(|old| old.path() != device.path());
    nodes.push(device);
    if let (Some(rule), Some(resources)) = (rule, linux.resources_mut()) {
        resources.devices_mut().get_or_insert_default().push(rule);
    }
}

fn add_mount(mount: &Mount, spec: &mut Spec) -> Result<()> {
    let kind = if mount.kind.is_empty() { "bind" } else { &mount.kind };
    let mut options = mount.options.clone();
    if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("bind".to_owned());
    }
    let built = MountBuilder::default()
        .destination(&mount.container_path)
        .source(&mount.host_path)
        .typ(kind)
        .options(options)
        .build()
        .map_err(failed)?;
    let mounts = spec.mounts_mut().get_or_insert_default();
    mounts.retain(|old| old.destination() != &PathBuf::from(&mount.container_path));
    mounts.push(built);
    Ok(())
}

fn add_hook(hook: &Hook, spec: &mut Spec) -> Result<()> {
    let mut builder = HookBuilder::default().path(&hook.path).args(hook.args.clone()).env(hook.env.clone());
    if let Some(timeout) = hook.timeout {
        builder = builder.timeout(timeout);
    }
    let built = builder.build().map_err(failed)?;
    let mut hooks = spec.hooks().clone().unwrap_or_default();
    let add = |list: &mut Option<Vec<OciHook>>| list.get_or_insert_default().push(built);
    match hook.hook_name.as_str() {
        #[allow(deprecated, reason = "vendors still use it")]
        "prestart" => add(hooks.prestart_mut()),
        "createRuntime" => add(hooks.create_runtime_mut()),
        "createContainer" => add(hooks.create_container_mut()),
        "startContainer" => add(hooks.start_container_mut()),
        "poststart" => add(hooks.poststart_mut()),
        "poststop" => add(hooks.poststop_mut()),
        other => return Err(failed(format!("unknown hook name \"{other}\""))),
    }
    spec.set_hooks(Some(hooks));
    Ok(())
}

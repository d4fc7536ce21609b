//! The host's half of a container, both ways: what is asked for is shown again as it was.

use hull_api::wire::host as wire;
use hull_api::wire::network::{PortBinding, PortMap};
use hull_engine::{Error, model};

use super::mount;
use crate::call::invalid;

/// `HostConfig` of a request.
pub(crate) fn config(host: wire::HostConfig) -> Result<model::HostConfig, Error> {
    let resources = resources(&host)?;
    Ok(model::HostConfig {
        binds: host.binds,
        container_id_file: host.container_id_file,
        log_config: model::LogConfig { driver: host.log_config.kind, options: host.log_config.config },
        network_mode: host.network_mode,
        port_bindings: port_bindings(host.port_bindings)?,
        restart_policy: restart_policy(&host.restart_policy)?,
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver,
        volumes_from: host.volumes_from,
        mounts: host.mounts.into_iter().map(mount::spec).collect::<Result<_, _>>()?,
        console_size: console_size(host.console_size),
        annotations: host.annotations,
        cap_add: host.cap_add,
        cap_drop: host.cap_drop,
        cgroupns_mode: host.cgroupns_mode,
        dns: host.dns,
        dns_options: host.dns_options,
        dns_search: host.dns_search,
        extra_hosts: host.extra_hosts,
        group_add: host.group_add,
        ipc_mode: host.ipc_mode,
        cgroup: host.cgroup,
        links: host.links,
        oom_score_adj: i32::try_from(host.oom_score_adj).map_err(|_| {
            invalid(format!("Invalid value {}, range for oom score adj is [-1000, 1000]", host.oom_score_adj))
        })?,
        umask: host.umask,
        pid_mode: host.pid_mode,
        privileged: host.privileged,
        publish_all_ports: host.publish_all_ports,
        readonly_rootfs: host.readonly_rootfs,
        security_opt: host.security_opt,
        storage_opt: Some(host.storage_opt).filter(|options| !options.is_empty()),
        tmpfs: Some(host.tmpfs).filter(|mounts| !mounts.is_empty()),
        egress: (!host.egress.is_empty()).then(|| host.egress.clone()),
        uts_mode: host.uts_mode,
        userns_mode: host.userns_mode,
        shm_size: host.shm_size,
        sysctls: Some(host.sysctls).filter(|values| !values.is_empty()),
        runtime: host.runtime,
        isolation: host.isolation,
        resources,
        masked_paths: host.masked_paths,
        readonly_paths: host.readonly_paths,
    })
}

fn resources(host: &wire::HostConfig) -> Result<model::Resources, Error> {
    let rate = |device: &wire::ThrottleDevice| model::BlkioDeviceRate {
        path: device.path.clone(),
        rate: device.rate,
    };
    let rates = |list: &Option<Vec<wire::ThrottleDevice>>| {
        list.as_ref().map(|devices| devices.iter().map(rate).collect())
    };
    let weight = |device: &wire::WeightDevice| model::BlkioDeviceWeight {
        path: device.path.clone(),
        weight: device.weight,
    };
    Ok(model::Resources {
        cpu_shares: host.cpu_shares,
        memory: host.memory,
        nano_cpus: host.nano_cpus,
        cgroup_parent: host.cgroup_parent.clone(),
        blkio_weight: host.blkio_weight,
        blkio_weight_device: host
            .blkio_weight_device
            .as_ref()
            .map(|devices| devices.iter().map(weight).collect()),
        blkio_device_read_bps: rates(&host.blkio_device_read_bps),
        blkio_device_write_bps: rates(&host.blkio_device_write_bps),
        blkio_device_read_iops: rates(&host.blkio_device_read_iops),
        blkio_device_write_iops: rates(&host.blkio_device_write_iops),
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        cpu_realtime_period: host.cpu_realtime_period,
        cpu_realtime_runtime: host.cpu_realtime_runtime,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        devices: host.devices.as_ref().map(|devices| devices.iter().map(device).collect()),
        device_cgroup_rules: host.device_cgroup_rules.clone(),
        device_requests: host
            .device_requests
            .as_ref()
            .map(|requests| requests.iter().map(device_request).collect()),
        kernel_memory_tcp: host.kernel_memory_tcp,
        memory_reservation: host.memory_reservation,
        memory_swap: host.memory_swap,
        memory_swappiness: host.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: host.oom_kill_disable,
        init: host.init,
        // Unlimited is what everyone has who says nothing.
        pids_limit: host.pids_limit.filter(|limit| *limit > 0),
        ulimits: host.ulimits.as_ref().map(|limits| limits.iter().map(ulimit).collect()),
        network_rate_in: host.network_rate_in,
        network_rate_out: host.network_rate_out,
        cpu_count: host.cpu_count,
        cpu_percent: host.cpu_percent,
        io_maximum_iops: host.io_maximum_iops,
        io_maximum_bandwidth: host.io_maximum_bandwidth,
    })
}

fn device(wire: &wire::DeviceMapping) -> model::DeviceMapping {
    model::DeviceMapping {
        path_on_host: wire.path_on_host.clone(),
        path_in_container: wire.path_in_container.clone(),
        cgroup_permissions: wire.cgroup_permissions.clone(),
    }
}

fn device_request(wire: &wire::DeviceRequest) -> model::DeviceRequest {
    model::DeviceRequest {
        driver: wire.driver.clone(),
        count: wire.count,
        device_ids: wire.device_ids.clone(),
        capabilities: wire.capabilities.clone(),
        options: wire.options.clone(),
    }
}

fn ulimit(wire: &wire::Ulimit) -> model::Ulimit {
    model::Ulimit { name: wire.name.clone(), soft: wire.soft, hard: wire.hard }
}

fn restart_policy(wire: &wire::RestartPolicy) -> Result<model::RestartPolicy, Error> {
    let condition = model::RestartCondition::parse(&wire.name).ok_or_else(|| {
        invalid(format!(
            "invalid restart policy: unknown policy '{}'; use one of 'no', 'always', \
             'on-failure', or 'unless-stopped'",
            wire.name
        ))
    })?;
    if wire.name.is_empty() && wire.maximum_retry_count == 0 {
        return Ok(model::RestartPolicy::default());
    }
    if wire.maximum_retry_count != 0 && condition != model::RestartCondition::OnFailure {
        let extra = if wire.maximum_retry_count < 0 { " and cannot be negative" } else { "" };
        return Err(invalid(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{extra}"
        )));
    }
    let maximum_retries = u32::try_from(wire.maximum_retry_count)
        .map_err(|_| invalid("invalid restart policy: maximum retry count cannot be negative"))?;
    Ok(model::RestartPolicy { condition, maximum_retries })
}

/// Published ports, those that follow each other together.
pub(crate) fn port_bindings(wire: PortMap) -> Result<model::PortBindings, Error> {
    let parse = |(port, bindings): (String, Option<Vec<PortBinding>>)| {
        let places = bindings
            .unwrap_or_default()
            .into_iter()
            .map(|binding| model::HostPort { host_ip: binding.host_ip, host_port: binding.host_port });
        let parsed: model::Port =
            port.parse().map_err(|_| invalid(format!("invalid port specification: {port:?}")))?;
        Ok((parsed, places.collect()))
    };
    let bindings = wire.into_iter().map(parse).collect::<Result<Vec<_>, Error>>()?;
    Ok(model::by_range(bindings))
}

/// Rows and columns; what no terminal can be is no size.
pub(crate) fn console_size(wire: [u32; 2]) -> [u16; 2] {
    wire.map(|cells| u16::try_from(cells).unwrap_or(0))
}

/// The body of `/containers/{id}/update`: a zero leaves a limit as it is.
pub(crate) fn update(wire: wire::UpdateRequest) -> Result<model::ContainerUpdate, Error> {
    let restart_policy = match wire.restart_policy.name.as_str() {
        "" => None,
        _ => Some(restart_policy(&wire.restart_policy)?),
    };
    let resources = model::Resources {
        cpu_shares: wire.cpu_shares,
        memory: wire.memory,
        nano_cpus: wire.nano_cpus,
        cgroup_parent: wire.cgroup_parent,
        blkio_weight: wire.blkio_weight,
        cpu_period: wire.cpu_period,
        cpu_quota: wire.cpu_quota,
        cpu_realtime_period: wire.cpu_realtime_period,
        cpu_realtime_runtime: wire.cpu_realtime_runtime,
        cpuset_cpus: wire.cpuset_cpus,
        cpuset_mems: wire.cpuset_mems,
        memory_reservation: wire.memory_reservation,
        memory_swap: wire.memory_swap,
        // Zero: from now on without a limit.
        pids_limit: wire.pids_limit.map(|limit| limit.max(0)),
        network_rate_in: wire.network_rate_in,
        network_rate_out: wire.network_rate_out,
        ..model::Resources::default()
    };
    Ok(model::ContainerUpdate { resources, restart_policy })
}

/// `HostConfig` as inspect shows it.
pub(crate) fn wire_config(host: &model::HostConfig) -> wire::HostConfig {
    wire::HostConfig {
        binds: host.binds.clone(),
        container_id_file: host.container_id_file.clone(),
        log_config: wire::LogConfig {
            kind: host.log_config.driver.clone(),
            config: host.log_config.options.clone(),
        },
        network_mode: host.network_mode.clone(),
        port_bindings: wire_bindings(&host.port_bindings),
        restart_policy: wire::RestartPolicy {
            name: host.restart_policy.condition.name().to_owned(),
            maximum_retry_count: i64::from(host.restart_policy.maximum_retries),
        },
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver.clone(),
        volumes_from: host.volumes_from.clone(),
        console_size: host.console_size.map(u32::from),
        annotations: host.annotations.clone(),
        cap_add: host.cap_add.clone(),
        cap_drop: host.cap_drop.clone(),
        cgroupns_mode: host.cgroupns_mode.clone(),
        dns: host.dns.clone(),
        dns_options: host.dns_options.clone(),
        dns_search: host.dns_search.clone(),
        extra_hosts: host.extra_hosts.clone(),
        group_add: host.group_add.clone(),
        ipc_mode: host.ipc_mode.clone(),
        cgroup: host.cgroup.clone(),
        links: host.links.clone(),
        oom_score_adj: i64::from(host.oom_score_adj),
        umask: host.umask,
        pid_mode: host.pid_mode.clone(),
        privileged: host.privileged,
        publish_all_ports: host.publish_all_ports,
        readonly_rootfs: host.readonly_rootfs,
        security_opt: host.security_opt.clone(),
        storage_opt: host.storage_opt.clone().unwrap_or_default(),
        tmpfs: host.tmpfs.clone().unwrap_or_default(),
        egress: host.egress.clone().unwrap_or_default(),
        uts_mode: host.uts_mode.clone(),
        userns_mode: host.userns_mode.clone(),
        shm_size: host.shm_size,
        sysctls: host.sysctls.clone().unwrap_or_default(),
        runtime: host.runtime.clone(),
        isolation: host.isolation.clone(),
        mounts: host.mounts.iter().map(mount::wire_spec).collect(),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        ..wire_limits(&host.resources)
    }
}

/// The limits among its fields.
fn wire_limits(limits: &model::Resources) -> wire::HostConfig {
    let rate = |device: &model::BlkioDeviceRate| wire::ThrottleDevice {
        path: device.path.clone(),
        rate: device.rate,
    };
    let rates = |list: &Option<Vec<model::BlkioDeviceRate>>| {
        list.as_ref().map(|devices| devices.iter().map(rate).collect())
    };
    wire::HostConfig {
        cpu_shares: limits.cpu_shares,
        memory: limits.memory,
        nano_cpus: limits.nano_cpus,
        cgroup_parent: limits.cgroup_parent.clone(),
        blkio_weight: limits.blkio_weight,
        blkio_weight_device: limits
            .blkio_weight_device
            .as_ref()
            .map(|devices| devices.iter().map(wire_weight).collect()),
        blkio_device_read_bps: rates(&limits.blkio_device_read_bps),
        blkio_device_write_bps: rates(&limits.blkio_device_write_bps),
        blkio_device_read_iops: rates(&limits.blkio_device_read_iops),
        blkio_device_write_iops: rates(&limits.blkio_device_write_iops),
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpu_realtime_period: limits.cpu_realtime_period,
        cpu_realtime_runtime: limits.cpu_realtime_runtime,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        devices: limits.devices.as_ref().map(|devices| devices.iter().map(wire_device).collect()),
        device_cgroup_rules: limits.device_cgroup_rules.clone(),
        device_requests: limits
            .device_requests
            .as_ref()
            .map(|requests| requests.iter().map(wire_device_request).collect()),
        kernel_memory_tcp: limits.kernel_memory_tcp,
        memory_reservation: limits.memory_reservation,
        memory_swap: limits.memory_swap,
        memory_swappiness: limits.memory_swappiness,
        oom_kill_disable: limits.oom_kill_disable,
        pids_limit: limits.pids_limit,
        ulimits: limits.ulimits.as_ref().map(|limits| limits.iter().map(wire_ulimit).collect()),
        network_rate_in: limits.network_rate_in.max(0),
        network_rate_out: limits.network_rate_out.max(0),
        cpu_count: limits.cpu_count,
        cpu_percent: limits.cpu_percent,
        io_maximum_iops: limits.io_maximum_iops,
        io_maximum_bandwidth: limits.io_maximum_bandwidth,
        init: limits.init,
        ..wire::HostConfig::default()
    }
}

/// Published ports one by one, as the API has them.
fn wire_bindings(bindings: &model::PortBindings) -> PortMap {
    let all = model::by_port(bindings.iter().map(|(ports, places)| (ports, places.as_slice())));
    all.iter()
        .map(|(port, places)| (port.to_string(), Some(places.iter().map(wire_binding).collect())))
        .collect()
}

/// Where a port is published.
pub(crate) fn wire_binding(binding: &model::HostPort) -> PortBinding {
    PortBinding { host_ip: binding.host_ip.clone(), host_port: binding.host_port.clone() }
}

fn wire_weight(device: &model::BlkioDeviceWeight) -> wire::WeightDevice {
    wire::WeightDevice { path: device.path.clone(), weight: device.weight }
}

fn wire_device(device: &model::DeviceMapping) -> wire::DeviceMapping {
    wire::DeviceMapping {
        path_on_host: device.path_on_host.clone(),
        path_in_container: device.path_in_container.clone(),
        cgroup_permissions: device.cgroup_permissions.clone(),
    }
}

fn wire_device_request(request: &model::DeviceRequest) -> wire::DeviceRequest {
    wire::DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: request.device_ids.clone(),
        capabilities: request.capabilities.clone(),
        options: request.options.clone(),
    }
}

fn wire_ulimit(limit: &model::Ulimit) -> wire::Ulimit {
    wire::Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft }
}

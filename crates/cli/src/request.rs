//! The flags that `create` and `run` share, and the request that they make.

use crate::values::devices::Device;
use crate::values::{devices, environment, mounts, networks, numbers, pairs, ports, security, times};
use hull_api::wire::container::{ContainerConfig, ContainerCreateRequest, HealthConfig};
use hull_api::wire::host::{
    DeviceRequest, HostConfig, LogConfig, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
};
use hull_api::wire::mount::Mount;
use hull_api::wire::network::{EndpointIpam, EndpointSettings, NetworkingConfig, PortMap};
use hull_api::wire::{Set, StrSlice};
use std::collections::BTreeMap;

/// How a container is made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContainerFlags {
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    host: HostFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    health: HealthFlags,
}

/// What runs, and what it sees of the command line.
#[derive(Debug, Clone, clap::Args)]
struct ProcessFlags {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list", value_parser = stream_name)]
    attach: Vec<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "list")]
    env_file: Vec<String>,
    /// Run this in place of the image's ENTRYPOINT
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Keep STDIN open even if nothing is attached
    #[arg(short, long)]
    interactive: bool,
    /// Set metadata on the container
    #[arg(short, long, value_name = "list")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "list")]
    label_file: Vec<String>,
    /// Signal that stops the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds to wait for the container to stop before it is killed
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    stop_timeout: Option<i64>,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Username or UID, and group: name|uid[:group|gid]
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    workdir: String,
}

/// How much the container may use.
#[derive(Debug, Clone, clap::Args)]
struct ResourceFlags {
    /// Relative weight of block I/O, 10 to 1000; 0 is the default
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true)]
    blkio_weight: u16,
    /// Relative weight of one block device
    #[arg(long, value_name = "list", value_parser = devices::weight)]
    blkio_weight_device: Vec<WeightDevice>,
    /// Microseconds of a scheduler period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_period: Option<i64>,
    /// Microseconds of CPU time in a scheduler period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_quota: Option<i64>,
    /// Microseconds of a real-time period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_rt_period: Option<i64>,
    /// Microseconds of real-time CPU time in a period
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    cpu_rt_runtime: Option<i64>,
    /// Relative weight of CPU time
    #[arg(short, long, value_name = "int", value_parser = numbers::integer)]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = numbers::nano_cpus)]
    cpus: Option<i64>,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// Most bytes a second read from a device
    #[arg(long, value_name = "list", value_parser = devices::bytes_rate)]
    device_read_bps: Vec<ThrottleDevice>,
    /// Most reads a second from a device
    #[arg(long, value_name = "list", value_parser = devices::operations_rate)]
    device_read_iops: Vec<ThrottleDevice>,
    /// Most bytes a second written to a device
    #[arg(long, value_name = "list", value_parser = devices::bytes_rate)]
    device_write_bps: Vec<ThrottleDevice>,
    /// Most writes a second to a device
    #[arg(long, value_name = "list", value_parser = devices::operations_rate)]
    device_write_iops: Vec<ThrottleDevice>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = numbers::bytes)]
    memory: Option<i64>,
    /// Memory that is left under pressure
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together; -1 is no limit
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes_or_unlimited)]
    memory_swap: Option<i64>,
    /// Swappiness of memory, 0 to 100
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    memory_swappiness: Option<i64>,
    /// Never kill for lack of memory
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily the kernel kills it, -1000 to 1000
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    oom_score_adj: Option<i64>,
    /// Limit of processes; -1 is no limit
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = numbers::bytes)]
    shm_size: Option<i64>,
    /// Resource limits of processes
    #[arg(long, value_name = "ulimit", value_parser = numbers::ulimit)]
    ulimit: Vec<Ulimit>,
}

/// What of the host the container sees, and what it may do to it.
#[derive(Debug, Clone, clap::Args)]
struct HostFlags {
    /// Add an annotation for the runtime
    #[arg(long, value_name = "map")]
    annotation: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    cap_drop: Vec<String>,
    /// Cgroup above the container's
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cgroup_parent: String,
    /// Cgroup namespace: host or private
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    cgroupns: String,
    /// Write the container's ID to this file
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) cidfile: String,
    /// Add a device of the host
    #[arg(long, value_name = "list", value_parser = devices::device)]
    device: Vec<Device>,
    /// Add a rule about devices to the cgroup
    #[arg(long, value_name = "list")]
    device_cgroup_rule: Vec<String>,
    /// Add GPUs ('all' for all of them)
    #[arg(long, value_name = "gpu-request", value_parser = devices::gpus)]
    gpus: Vec<DeviceRequest>,
    /// Add supplementary groups
    #[arg(long, value_name = "list")]
    group_add: Vec<String>,
    /// Run an init inside that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// IPC namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    ipc: String,
    /// Isolation technology; only the default is there
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    isolation: String,
    /// Log driver
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    log_driver: String,
    /// Options of the log driver
    #[arg(long, value_name = "list")]
    log_opt: Vec<String>,
    /// Attach a mount: type=bind|volume|tmpfs|image,source=…,target=…
    #[arg(long, value_name = "mount", value_parser = mounts::mount)]
    mount: Vec<Mount>,
    /// PID namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pid: String,
    /// Give extended privileges
    #[arg(long)]
    privileged: bool,
    /// Mount the container's root file system read-only
    #[arg(long)]
    read_only: bool,
    /// When to start it again: no, always, unless-stopped, on-failure[:count]
    #[arg(long, value_name = "string", default_value = "no", value_parser = numbers::restart_policy)]
    restart: RestartPolicy,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    rm: bool,
    /// OCI runtime
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    runtime: String,
    /// Security options
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// Options of the storage driver
    #[arg(long, value_name = "list")]
    storage_opt: Vec<String>,
    /// Kernel parameters of the namespaces
    #[arg(long, value_name = "map")]
    sysctl: Vec<String>,
    /// Mount a tmpfs
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// User namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    userns: String,
    /// UTS namespace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    uts: String,
    /// Mount a path or a volume
    #[arg(short, long, value_name = "list")]
    volume: Vec<String>,
    /// Volume driver
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    volume_driver: String,
    /// Mount what another container has mounted
    #[arg(long, value_name = "list")]
    volumes_from: Vec<String>,
}

/// Its networks, names and ports.
#[derive(Debug, Clone, clap::Args)]
struct NetworkFlags {
    /// Add a host to /etc/hosts (host:ip)
    #[arg(long, value_name = "list", value_parser = extra_host)]
    add_host: Vec<String>,
    /// Set DNS servers
    #[arg(long, value_name = "list")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "list")]
    dns_option: Vec<String>,
    /// Set DNS search domains
    #[arg(long, value_name = "list")]
    dns_search: Vec<String>,
    /// NIS domain name
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    domainname: String,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list")]
    expose: Vec<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "string", default_value = "", hide_default_value = true)]
    hostname: String,
    /// IPv4 address (172.30.100.104)
    #[arg(long, value_name = "ip")]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address (2001:db8::33)
    #[arg(long, value_name = "ip")]
    ip6: Option<std::net::Ipv6Addr>,
    /// Link to another container
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// Link-local addresses
    #[arg(long, value_name = "list")]
    link_local_ip: Vec<String>,
    /// MAC address (92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    mac_address: String,
    /// Connect to a network
    #[arg(long, visible_alias = "net", value_name = "network", value_parser = networks::attachment)]
    network: Vec<networks::Attachment>,
    /// Add a name on the network
    #[arg(long, visible_alias = "net-alias", value_name = "list")]
    network_alias: Vec<String>,
    /// Publish a port or a range of ports
    #[arg(short, long, value_name = "list")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
}

/// How its health is probed.
#[derive(Debug, Clone, clap::Args)]
struct HealthFlags {
    /// Command that probes the health
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    health_cmd: String,
    /// Time between probes (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_interval: Option<i64>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    health_retries: Option<i64>,
    /// Time between probes while it starts (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_start_interval: Option<i64>,
    /// Time it has to start before failures count (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_start_period: Option<i64>,
    /// Most time of one probe (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_timeout: Option<i64>,
    /// Disable the image's HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
}

/// Who is attached while the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attaching {
    /// Our stdin is the container's.
    pub(crate) stdin: bool,
    /// Its output is ours.
    pub(crate) stdout: bool,
    /// Its errors are ours.
    pub(crate) stderr: bool,
    /// It has a terminal.
    pub(crate) tty: bool,
}

impl ContainerFlags {
    /// The file for the container's id; "" is none.
    pub(crate) fn cidfile(&self) -> &str {
        &self.host.cidfile
    }

    /// Whether the container is removed when it ends.
    pub(crate) fn removes_itself(&self) -> bool {
        self.host.rm
    }

    /// What is attached: what was asked for, else everything (of input only with `-i`).
    pub(crate) fn attaching(&self) -> Attaching {
        let asked = &self.process.attach;
        let has = |name: &str| asked.iter().any(|stream| stream == name);
        let Attaching { stdin, stdout, stderr, tty } = match asked.is_empty() {
            true => Attaching { stdin: self.process.interactive, stdout: true, stderr: true, tty: false },
            false => {
                Attaching { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr"), tty: false }
            }
        };
        Attaching { stdin, stdout, stderr, tty: tty || self.process.tty }
    }

    /// Whether streams were asked for one by one.
    pub(crate) fn attach_is_given(&self) -> bool {
        !self.process.attach.is_empty()
    }

    /// The request for an image and its command.
    pub(crate) fn request(&self, image: &str, command: &[String]) -> Result<ContainerCreateRequest, String> {
        if self.host.rm && !matches!(self.host.restart.name.as_str(), "" | "no") {
            return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
        }
        let mut exposed = Set::new();
        let mut bindings = PortMap::new();
        for port in &self.network.publish {
            ports::publish(port, &mut bindings, &mut exposed)?;
        }
        for port in &self.network.expose {
            ports::expose(port, &mut exposed)?;
        }
        let (binds, volumes) = mounts::volumes(&self.host.volume)?;
        let mut config = self.config(image, command)?;
        config.exposed_ports = exposed;
        config.volumes = (!volumes.is_empty()).then_some(volumes);
        let mut host_config = self.host_config()?;
        host_config.port_bindings = bindings;
        host_config.binds = some(binds);
        let networking_config = NetworkingConfig { endpoints_config: self.endpoints()? };
        Ok(ContainerCreateRequest { config, host_config, networking_config })
    }

    fn config(&self, image: &str, command: &[String]) -> Result<ContainerConfig, String> {
        let ProcessFlags { entrypoint, interactive, .. } = &self.process;
        let attaching = self.attaching();
        Ok(ContainerConfig {
            hostname: self.network.hostname.clone(),
            domainname: self.network.domainname.clone(),
            user: self.process.user.clone(),
            attach_stdin: attaching.stdin,
            attach_stdout: attaching.stdout,
            attach_stderr: attaching.stderr,
            tty: self.process.tty,
            open_stdin: *interactive,
            // Who is attached and gone has closed it.
            stdin_once: *interactive && attaching.stdin,
            env: some(environment::collect(&self.process.env_file, &self.process.env)?),
            cmd: (!command.is_empty()).then(|| StrSlice(command.to_vec())),
            healthcheck: self.health.healthcheck()?,
            image: image.to_owned(),
            working_dir: self.process.workdir.clone(),
            // An empty one resets the image's.
            entrypoint: entrypoint.as_ref().map(|program| StrSlice(vec![program.clone()])),
            mac_address: self.network.mac_address.clone(),
            labels: pairs::labels(&self.process.label_file, &self.process.label)?,
            stop_signal: self.process.stop_signal.clone(),
            stop_timeout: self.process.stop_timeout,
            ..ContainerConfig::default()
        })
    }

    fn host_config(&self) -> Result<HostConfig, String> {
        let (nodes, requests) = devices::wanted(&self.host.device, &self.host.gpus);
        let HostFlags { cap_add, cap_drop, group_add, device_cgroup_rule, volumes_from, .. } =
            self.host.clone();
        let (security_opt, unmasked) = security::options(&self.host.security_opt)?;
        let unmasked = unmasked.then(Vec::new);
        let size = crate::terminal::size().unwrap_or((0, 0));
        let log = pairs::options("log-opt", &self.host.log_opt)?;
        let mut host = HostConfig {
            container_id_file: self.host.cidfile.clone(),
            log_config: LogConfig { kind: self.host.log_driver.clone(), config: log },
            network_mode: self.network.mode(),
            restart_policy: self.host.restart.clone(),
            auto_remove: self.host.rm,
            volume_driver: self.host.volume_driver.clone(),
            volumes_from: some(volumes_from),
            console_size: [size.0.into(), size.1.into()],
            annotations: pairs::map(&self.host.annotation),
            cap_add: some(cap_add),
            cap_drop: some(cap_drop),
            cgroupns_mode: self.host.cgroupns.clone(),
            dns: Some(self.network.dns.clone()),
            dns_options: Some(self.network.dns_option.clone()),
            dns_search: Some(self.network.dns_search.clone()),
            extra_hosts: some(self.network.add_host.clone()),
            group_add: some(group_add),
            ipc_mode: self.host.ipc.clone(),
            links: some(self.network.link.clone()),
            pid_mode: self.host.pid.clone(),
            privileged: self.host.privileged,
            publish_all_ports: self.network.publish_all,
            readonly_rootfs: self.host.read_only,
            security_opt: some(security_opt),
            storage_opt: pairs::options("storage option", &self.host.storage_opt)?,
            tmpfs: mounts::tmpfs(&self.host.tmpfs),
            uts_mode: self.host.uts.clone(),
            userns_mode: self.host.userns.clone(),
            sysctls: pairs::map(&self.host.sysctl),
            runtime: self.host.runtime.clone(),
            isolation: self.host.isolation.clone(),
            cgroup_parent: self.host.cgroup_parent.clone(),
            devices: some(nodes),
            device_cgroup_rules: some(device_cgroup_rule),
            device_requests: some(requests),
            mounts: self.host.mount.clone(),
            masked_paths: unmasked.clone(),
            readonly_paths: unmasked,
            init: self.host.init.then_some(true),
            ..HostConfig::default()
        };
        self.resources.apply(&mut host);
        Ok(host)
    }

    fn endpoints(&self) -> Result<BTreeMap<String, Option<EndpointSettings>>, String> {
        let NetworkFlags { ip, ip6, link_local_ip, network_alias, mac_address, .. } = &self.network;
        let mut attachments = self.network.network.clone();
        let asks = ip.is_some() || ip6.is_some() || !link_local_ip.is_empty() || !network_alias.is_empty();
        if attachments.is_empty() && (asks || !mac_address.is_empty()) {
            attachments.push(networks::attachment("default")?);
        }
        // The flags are about the first network.
        if let Some(first) = attachments.first_mut().map(|first| &mut first.settings) {
            if ip.is_some() || ip6.is_some() || !link_local_ip.is_empty() {
                let ipam: &mut EndpointIpam = first.ipam_config.get_or_insert_default();
                ipam.ipv4_address = ip.map_or(std::mem::take(&mut ipam.ipv4_address), |ip| ip.to_string());
                ipam.ipv6_address = ip6.map_or(std::mem::take(&mut ipam.ipv6_address), |ip| ip.to_string());
                ipam.link_local_ips.extend(link_local_ip.iter().cloned());
            }
            if !network_alias.is_empty() {
                first.aliases.get_or_insert_default().extend(network_alias.iter().cloned());
            }
            if !mac_address.is_empty() {
                first.mac_address = mac_address.clone();
            }
        }
        networks::endpoints(attachments)
    }
}

impl NetworkFlags {
    /// The first network is the container's mode.
    fn mode(&self) -> String {
        self.network.first().map_or_else(|| "default".to_owned(), |first| first.name.clone())
    }
}

impl ResourceFlags {
    fn apply(&self, host: &mut HostConfig) {
        let flags = self.clone();
        host.blkio_weight = flags.blkio_weight;
        host.blkio_weight_device = some(flags.blkio_weight_device);
        host.blkio_device_read_bps = some(flags.device_read_bps);
        host.blkio_device_read_iops = some(flags.device_read_iops);
        host.blkio_device_write_bps = some(flags.device_write_bps);
        host.blkio_device_write_iops = some(flags.device_write_iops);
        host.cpu_period = flags.cpu_period.unwrap_or(0);
        host.cpu_quota = flags.cpu_quota.unwrap_or(0);
        host.cpu_realtime_period = flags.cpu_rt_period.unwrap_or(0);
        host.cpu_realtime_runtime = flags.cpu_rt_runtime.unwrap_or(0);
        host.cpu_shares = flags.cpu_shares.unwrap_or(0);
        host.nano_cpus = flags.cpus.unwrap_or(0);
        host.cpuset_cpus = flags.cpuset_cpus;
        host.cpuset_mems = flags.cpuset_mems;
        host.memory = flags.memory.unwrap_or(0);
        host.memory_reservation = flags.memory_reservation.unwrap_or(0);
        host.memory_swap = flags.memory_swap.unwrap_or(0);
        host.memory_swappiness = flags.memory_swappiness.filter(|&swappiness| swappiness != -1);
        host.oom_kill_disable = Some(flags.oom_kill_disable);
        host.oom_score_adj = flags.oom_score_adj.unwrap_or(0);
        host.pids_limit = flags.pids_limit;
        host.shm_size = flags.shm_size.unwrap_or(0);
        host.ulimits = some(flags.ulimit);
    }
}

impl HealthFlags {
    fn healthcheck(&self) -> Result<Option<HealthConfig>, String> {
        let health = HealthConfig {
            test: match self.health_cmd.as_str() {
                "" => Vec::new(),
                command => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            },
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        let is_given = health != HealthConfig::default();
        match self.no_healthcheck {
            true if is_given => Err("--no-healthcheck conflicts with --health-* options".to_owned()),
            true => Ok(Some(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() })),
            false => Ok(is_given.then_some(health)),
        }
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn stream_name(text: &str) -> Result<String, String> {
    match text.to_lowercase() {
        name if ["stdin", "stdout", "stderr"].contains(&name.as_str()) => Ok(name),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// "host:ip" or "host=ip", as "host:ip".
fn extra_host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (host, ip) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    let plain = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if host.is_empty() {
        return Err(bad());
    }
    if plain != "host-gateway" && plain.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(format!("{host}:{plain}"))
}

#[cfg(test)]
mod tests;

//! From the daemon's settings to the engine's options.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hull_engine::model::{LogConfig, Ulimit};
use hull_engine::{Options, Remap, Runtime, Runtimes};
use hull_image::Proxies;
use hull_network::{Pool, Pool6};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::remap;
use crate::settings::Settings;

/// What the engine is opened with.
///
/// # Errors
/// A message that names the setting whose value makes no sense.
pub(crate) fn of(settings: &Settings) -> Result<Options, String> {
    let defaults = Options::default();
    let remap = settings.userns_remap.as_deref().map(remap::of).transpose()?;
    let data_root = settings.data_root.clone().unwrap_or(defaults.data_root);
    Ok(Options {
        data_root: match remap.as_ref().map(Remap::root) {
            // Volumes and containers of one map are nothing to another.
            Some((user, group)) => data_root.join(format!("{user}.{group}")),
            None => data_root,
        },
        remap,
        exec_root: settings.exec_root.clone().unwrap_or(defaults.exec_root),
        shim: beside("hull-shim")?,
        tls: std::env::current_exe().map_err(|why| format!("find our own program: {why}"))?,
        cgroup_parent: settings.cgroup_parent.clone().unwrap_or(defaults.cgroup_parent),
        default_log: LogConfig {
            driver: settings.log_driver.clone().unwrap_or_default(),
            options: settings.log_opts.clone(),
        },
        default_shm_size: shm_size(settings)?,
        default_storage_size: storage_size(&settings.storage_opts)?,
        init_by_default: settings.init,
        init: settings.init_path.clone(),
        plugin_directories: settings.plugin_dirs.clone(),
        no_new_privileges: settings.no_new_privileges,
        seccomp_profile: seccomp(settings.seccomp_profile.as_deref()),
        default_ulimits: settings
            .default_ulimits
            .values()
            .map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        cdi_directories: settings.cdi_directories().unwrap_or(defaults.cdi_directories),
        live_restore: settings.live_restore(),
        runtimes: runtimes(settings),
        default_ipc_mode: settings.default_ipc_mode.clone().unwrap_or(defaults.default_ipc_mode),
        default_cgroupns_mode: settings.default_cgroupns_mode.clone(),
        host_gateways: host_gateways(&settings.host_gateway_ips)?,
        dns: settings.dns.clone(),
        dns_options: settings.dns_opts.clone(),
        dns_search: settings.dns_search.clone(),
        network: network(settings)?,
        images: images(settings),
    })
}

/// Lets the daemon have as many descriptors as it may: each running container takes some. What it was before.
pub(crate) fn raise_descriptors() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // With fewer it can do less, not nothing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    before
}

/// Containers that name no limit get what the daemon was given, not what it took.
pub(crate) fn keep_descriptors(options: &mut Options, before: Rlimit) {
    let all = &mut options.default_ulimits;
    if !all.iter().any(|limit| limit.name == "nofile") {
        // -1 is no limit.
        let number = |limit: Option<u64>| limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        all.push(Ulimit {
            name: "nofile".into(),
            soft: number(before.current),
            hard: number(before.maximum),
        });
    }
}

/// A program of ours: beside this one, else in the PATH.
fn beside(name: &str) -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|why| format!("find our own program: {why}"))?;
    let beside = here.with_file_name(name);
    if beside.exists() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.exists())
        .ok_or_else(|| format!("{name} is neither beside {} nor in the PATH", here.display()))
}

/// The file of the default policy; `builtin` is ours.
fn seccomp(profile: Option<&str>) -> Option<PathBuf> {
    profile
        .filter(|profile| !profile.is_empty() && *profile != "builtin")
        .map(|path| Path::new(path).to_owned())
}

/// The runtimes that containers may name.
pub(crate) fn runtimes(settings: &Settings) -> Runtimes {
    let added = settings.runtimes.iter().map(|(name, runtime)| {
        let (program, arguments) = (runtime.path.clone(), runtime.runtime_args.clone());
        (name.clone(), Runtime { program, arguments })
    });
    let default = settings.default_runtime.clone().unwrap_or(Runtimes::default().default);
    Runtimes { default, added: added.collect() }
}

/// The proxies that are set, each or else the environment's; none if nobody has set one.
pub(crate) fn proxies(settings: &Settings) -> Option<Proxies> {
    let Settings { http_proxy, https_proxy, no_proxy, .. } = settings;
    [http_proxy, https_proxy, no_proxy].iter().any(|proxy| proxy.is_some()).then(|| Proxies {
        http: http_proxy.clone().or_else(|| variable("HTTP_PROXY")),
        https: https_proxy.clone().or_else(|| variable("HTTPS_PROXY")),
        except: no_proxy.clone().or_else(|| variable("NO_PROXY")),
    })
}

/// What is to be said of proxies that the environment names, and the settings name others.
pub(crate) fn overridden(settings: &Settings) -> Vec<String> {
    let mut said = Vec::new();
    for (kind, new) in settings.named_proxies() {
        let name = format!("{kind}_proxy");
        for name in [name.to_uppercase(), name] {
            let old = std::env::var(&name).unwrap_or_default();
            if !old.is_empty() && old != new {
                let (old, new) = (masked(&old), masked(new));
                said.push(format!(
                    "overriding existing proxy variable with value from configuration: {name} was {old}, and is {new}"
                ));
            }
        }
    }
    said
}

/// The URL of a proxy without its credentials, which are nobody's business.
pub(crate) fn masked(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        _ => url.to_owned(),
    }
}

/// A variable of the environment, in either case.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).ok()
}

/// How registries are reached.
pub(crate) fn images(settings: &Settings) -> hull_image::Settings {
    let defaults = hull_image::Settings::default();
    hull_image::Settings {
        insecure_registries: settings.insecure_registries.clone(),
        mirrors: settings.registry_mirrors.clone(),
        max_concurrent_downloads: some(settings.max_concurrent_downloads)
            .unwrap_or(defaults.max_concurrent_downloads),
        max_concurrent_uploads: some(settings.max_concurrent_uploads)
            .unwrap_or(defaults.max_concurrent_uploads),
        max_download_attempts: some(settings.max_download_attempts).unwrap_or(defaults.max_download_attempts),
        proxies: proxies(settings),
        ..defaults
    }
}

/// Networks as the settings have them.
pub(crate) fn network(settings: &Settings) -> Result<hull_network::Config, String> {
    let defaults = hull_network::Config::default();
    let (mut pools, mut pools6) = (Vec::new(), Vec::new());
    for pool in &settings.default_address_pools {
        match (pool.base.parse(), pool.base.parse()) {
            (Ok(base), _) => pools.push(Pool { base, size: pool.size }),
            (_, Ok(base)) => pools6.push(Pool6 { base, size: pool.size }),
            _ => return Err(format!("invalid default-address-pool base: {}", pool.base)),
        }
    }
    Ok(hull_network::Config {
        bridge: match settings.bridge.as_deref() {
            None => defaults.bridge,
            Some("none") => None,
            Some(name) => Some(name.to_owned()),
        },
        bip: parsed(settings.bip.as_deref(), "bip")?,
        fixed_cidr: parsed(settings.fixed_cidr.as_deref(), "fixed-cidr")?,
        ipv6: settings.ipv6.unwrap_or(defaults.ipv6),
        bip6: parsed(settings.bip6.as_deref(), "bip6")?,
        fixed_cidr6: parsed(settings.fixed_cidr_v6.as_deref(), "fixed-cidr-v6")?,
        icc: settings.icc.unwrap_or(defaults.icc),
        masquerade: settings.ip_masq.unwrap_or(defaults.masquerade),
        forward: settings.ip_forward.unwrap_or(defaults.forward),
        forward_others: settings.ip_forward_no_drop.unwrap_or(defaults.forward_others),
        direct_routing: settings.allow_direct_routing.unwrap_or(defaults.direct_routing),
        accepted_mark: match settings.bridge_accept_fwmark.as_deref() {
            None | Some("") => None,
            Some(mark) => Some(mark.parse()?),
        },
        default_ip: parsed(settings.ip.as_deref(), "ip")?.unwrap_or(defaults.default_ip),
        userland_proxy: settings.userland_proxy.unwrap_or(defaults.userland_proxy),
        mtu: some(settings.mtu).unwrap_or(defaults.mtu),
        pools: if pools.is_empty() { defaults.pools } else { pools },
        pools6,
        default_gateway: parsed(settings.default_gateway.as_deref(), "default-gateway")?,
        default_gateway6: parsed(settings.default_gateway_v6.as_deref(), "default-gateway-v6")?,
        ..hull_network::Config::default()
    })
}

/// What host-gateway means: at most an address of each family, in dockerd's words.
pub(crate) fn host_gateways(texts: &[String]) -> Result<Vec<IpAddr>, String> {
    let read = |text: &String| text.parse().map_err(|_| format!("invalid host-gateway-ip: {text}"));
    let mut addresses = texts.iter().map(read).collect::<Result<Vec<IpAddr>, _>>()?;
    for (is_of, family) in [(IpAddr::is_ipv4 as fn(&IpAddr) -> bool, "IPv4"), (IpAddr::is_ipv6, "IPv6")] {
        if addresses.iter().filter(|address| is_of(address)).count() > 1 {
            return Err(format!("only one {family} host gateway IP address can be specified"));
        }
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses)
}

/// A number that was given; zero is the default, as for dockerd.
fn some<T: TryFrom<i64>>(number: Option<i64>) -> Option<T> {
    number.filter(|number| *number > 0).and_then(|number| T::try_from(number).ok())
}

fn parsed<T: std::str::FromStr>(text: Option<&str>, key: &str) -> Result<Option<T>, String> {
    text.map(|text| text.parse().map_err(|_| format!("invalid {key}: {text}"))).transpose()
}

/// Bytes of /dev/shm of containers that name none.
pub(crate) fn shm_size(settings: &Settings) -> Result<i64, String> {
    match settings.default_shm_size.as_deref() {
        Some(text) => bytes(text).ok_or_else(|| format!("invalid size: '{text}'")),
        None => Ok(Options::default().default_shm_size),
    }
}

/// What `--storage-opt` says of the size of containers, in dockerd's words.
fn storage_size(options: &[String]) -> Result<Option<u64>, String> {
    let mut size = None;
    for option in options {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| format!("unable to parse storage-opt key/value: {option}"))?;
        match name.trim().to_ascii_lowercase().as_str() {
            "overlay2.size" => {
                let wanted = bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
                size = Some(wanted.ok_or_else(|| format!("invalid size: '{}'", value.trim()))?);
            }
            name => return Err(format!("overlay2: unknown option {name}")),
        }
    }
    Ok(size)
}

/// A size like `64M`, in bytes: units are powers of 1024.
fn bytes(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match number.as_bytes().last()? {
        b'k' => (&number[..number.len() - 1], 10),
        b'm' => (&number[..number.len() - 1], 20),
        b'g' => (&number[..number.len() - 1], 30),
        _ => (number, 0),
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{bytes, storage_size};

    #[test]
    fn storage_options_are_read_or_refused() {
        let read = |option: &str| storage_size(&[option.to_owned()]);
        assert_eq!(storage_size(&[]), Ok(None));
        assert_eq!(read("overlay2.size=10G"), Ok(Some(10 << 30)));
        assert_eq!(read("Overlay2.Size = 512m"), Ok(Some(512 << 20)));
        assert_eq!(read("overlay2.size"), Err("unable to parse storage-opt key/value: overlay2.size".into()));
        assert_eq!(read("overlay2.size=much"), Err("invalid size: 'much'".into()));
        assert_eq!(read("overlay2.size=-1"), Err("invalid size: '-1'".into()));
        assert_eq!(read("dm.basesize=1G"), Err("overlay2: unknown option dm.basesize".into()));
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes("64M"), Some(64 << 20));
        assert_eq!(bytes("1gb"), Some(1 << 30));
        assert_eq!(bytes("512KiB"), Some(512 << 10));
        assert_eq!(bytes("100"), Some(100));
        assert_eq!(bytes("x"), None);
        assert_eq!(bytes(""), None);
    }
}

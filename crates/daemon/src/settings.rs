//! What hulld is told: dockerd's flags and the keys of `daemon.json`, resolved once into [`Settings`].
//!
//! Source: dockerd(8) and its daemon.json. A key may stand in the file or among the flags, not in both. A flag
//! that has no meaning here is accepted with a warning that says so, so that what starts dockerd can start hulld.

mod check;
mod file;
mod foreign;
mod hosts;
mod merge;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde::Deserialize;

/// Where the configuration is when nobody says otherwise; there it may be absent.
const CONFIG_FILE: &str = "/etc/hull/daemon.json";

/// The flags that mean something.
#[derive(Args, Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Sockets to listen on: unix://path, tcp://host:port, fd://
    #[arg(short = 'H', long = "host", value_name = "list")]
    #[serde(rename = "hosts")]
    pub(crate) hosts: Vec<String>,
    /// Group of the unix sockets
    #[arg(short = 'G', long, value_name = "string")]
    pub(crate) group: Option<String>,
    /// Root directory of persistent state
    #[arg(long, value_name = "string")]
    pub(crate) data_root: Option<PathBuf>,
    /// Root directory of execution state
    #[arg(long, value_name = "string")]
    pub(crate) exec_root: Option<PathBuf>,
    /// File to keep the daemon's process id in
    #[arg(short = 'p', long, value_name = "string")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Log more
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "bool", hide_default_value = true)]
    pub(crate) debug: bool,
    /// debug, info, warn, error or fatal
    #[arg(short = 'l', long, value_name = "string")]
    pub(crate) log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "string")]
    pub(crate) log_format: Option<String>,
    /// Log without colour
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "bool", hide_default_value = true)]
    pub(crate) raw_logs: bool,
    /// Registry mirrors of the default registry
    #[arg(long = "registry-mirror", value_name = "list")]
    #[serde(rename = "registry-mirrors")]
    pub(crate) registry_mirrors: Vec<String>,
    /// Registries (host[:port] or CIDR) that may be spoken to without verified TLS
    #[arg(long = "insecure-registry", value_name = "list")]
    #[serde(rename = "insecure-registries")]
    pub(crate) insecure_registries: Vec<String>,
    /// Parallel downloads of each pull
    #[arg(long, value_name = "int")]
    pub(crate) max_concurrent_downloads: Option<i64>,
    /// Parallel uploads of each push
    #[arg(long, value_name = "int")]
    pub(crate) max_concurrent_uploads: Option<i64>,
    /// How often a broken download is taken up again
    #[arg(long, value_name = "int")]
    pub(crate) max_download_attempts: Option<i64>,
    /// Resource limits of containers that name none: nofile=1024:524288
    #[arg(long = "default-ulimit", value_name = "list", value_parser = words::ulimit)]
    #[serde(skip)]
    pub(crate) default_ulimit: Vec<Ulimit>,
    #[arg(skip)]
    pub(crate) default_ulimits: BTreeMap<String, Ulimit>,
    /// Serve TLS, and want a client certificate of our authority unless that is switched off by --tlsverify=false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "bool", hide_default_value = true)]
    pub(crate) tls: bool,
    /// Serve TLS and want a client certificate of our authority, or, if false, none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, value_name = "bool")]
    pub(crate) tlsverify: Option<bool>,
    /// Certificates of the authority that clients must be signed by
    #[arg(long, value_name = "string")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// Certificate of the server
    #[arg(long, value_name = "string")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Key of the server
    #[arg(long, value_name = "string")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Parent of the containers' cgroups
    #[arg(long, value_name = "string")]
    pub(crate) cgroup_parent: Option<String>,
    /// Name of the default bridge
    #[arg(short = 'b', long, value_name = "string")]
    pub(crate) bridge: Option<String>,
    /// Address and prefix of the default bridge
    #[arg(long, value_name = "string")]
    pub(crate) bip: Option<String>,
    /// Pools for new networks: base=10.10.0.0/16,size=24
    #[arg(long = "default-address-pool", value_name = "list", value_parser = words::pool)]
    #[serde(rename = "default-address-pools")]
    pub(crate) default_address_pools: Vec<AddressPool>,
    /// Part of the default bridge's subnet that containers get addresses from
    #[arg(long, value_name = "string")]
    pub(crate) fixed_cidr: Option<String>,
    /// Whether the default bridge has IPv6
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ipv6: Option<bool>,
    /// IPv6 address and prefix of the default bridge
    #[arg(long, value_name = "string")]
    pub(crate) bip6: Option<String>,
    /// IPv6 subnet of the default bridge, or with --bip6 the part of it that containers get addresses from
    #[arg(long, value_name = "string")]
    pub(crate) fixed_cidr_v6: Option<String>,
    /// Gateway of the default bridge's containers; the bridge itself if none is named
    #[arg(long, value_name = "ipSlice")]
    pub(crate) default_gateway: Option<String>,
    /// IPv6 gateway of the default bridge's containers
    #[arg(long, value_name = "ipSlice")]
    pub(crate) default_gateway_v6: Option<String>,
    /// Options that networks of a driver have unless they say otherwise: bridge=com.docker.network.driver.mtu=1400
    #[arg(skip)]
    pub(crate) default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    /// Default options of networks: DRIVER=OPTION=VALUE
    #[arg(long = "default-network-opt", value_name = "mapmap", value_parser = words::network_opt)]
    #[serde(skip)]
    pub(crate) default_network_opt: Vec<(String, String, String)>,
    /// Whether containers of the default bridge reach each other
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) icc: Option<bool>,
    /// Whether the default bridge masquerades
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_masq: Option<bool>,
    /// Whether published ports are reached by IPv6 where their container has none
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) userland_proxy: Option<bool>,
    /// Whether to switch forwarding on
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_forward: Option<bool>,
    /// Whether a host that did not forward before may forward what is not the containers', too
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_forward_no_drop: Option<bool>,
    /// Whether published ports are reached at the containers' own addresses by every interface
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_direct_routing: Option<bool>,
    /// Let packets with this firewall mark pass to bridge networks: mark[/mask]
    #[arg(long, value_name = "string")]
    pub(crate) bridge_accept_fwmark: Option<String>,
    /// Host address of published ports that name none
    #[arg(long, value_name = "ip")]
    pub(crate) ip: Option<String>,
    /// Addresses that host-gateway means, one of each family; the default bridge's if none is named
    #[arg(long = "host-gateway-ip", value_name = "list")]
    pub(crate) host_gateway_ips: Vec<String>,
    /// Directories with specifications of CDI devices
    #[arg(long = "cdi-spec-dir", value_name = "list", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    #[serde(rename = "cdi-spec-dirs")]
    pub(crate) cdi_spec_dirs: Option<Vec<PathBuf>>,
    /// Whether containers run on when the daemon stops; they do unless that is switched off
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) live_restore: Option<bool>,
    /// MTU of the default bridge
    #[arg(long, value_name = "int")]
    pub(crate) mtu: Option<i64>,
    /// DNS servers of containers
    #[arg(long, value_name = "list")]
    pub(crate) dns: Vec<String>,
    /// DNS search domains of containers
    #[arg(long, value_name = "list")]
    pub(crate) dns_search: Vec<String>,
    /// DNS options of containers
    #[arg(long = "dns-opt", value_name = "list")]
    #[serde(rename = "dns-opts")]
    pub(crate) dns_opts: Vec<String>,
    /// Log driver of containers that name none
    #[arg(long, value_name = "string")]
    pub(crate) log_driver: Option<String>,
    /// Log options of containers that name none
    #[arg(long = "log-opt", value_name = "map", value_parser = words::pair)]
    #[serde(skip)]
    pub(crate) log_opt: Vec<(String, String)>,
    #[arg(skip)]
    pub(crate) log_opts: BTreeMap<String, String>,
    /// Labels of the daemon
    #[arg(long = "label", value_name = "list")]
    #[serde(rename = "labels")]
    pub(crate) labels: Vec<String>,
    /// Run an init in every container
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "bool", hide_default_value = true)]
    pub(crate) init: bool,
    /// Program that is process 1 of containers with an init; hull-shim's own if none is named
    #[arg(long, value_name = "string")]
    pub(crate) init_path: Option<PathBuf>,
    /// Size of /dev/shm, as 64M
    #[arg(long, value_name = "bytes")]
    pub(crate) default_shm_size: Option<String>,
    /// Options of the storage: overlay2.size=10G bounds what containers may write that say nothing
    #[arg(long = "storage-opt", value_name = "list")]
    #[serde(rename = "storage-opts")]
    pub(crate) storage_opts: Vec<String>,
    /// Seccomp profile of containers that name none: a file, or `builtin`
    #[arg(long, value_name = "string")]
    pub(crate) seccomp_profile: Option<String>,
    /// Set no-new-privileges on every container
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "bool", hide_default_value = true)]
    pub(crate) no_new_privileges: bool,
    /// Have what dockerd has in its experimental mode: checkpoints
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "bool", hide_default_value = true)]
    pub(crate) experimental: bool,
    /// Seconds to wait for requests under way when the daemon stops
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pub(crate) shutdown_timeout: Option<i64>,
    /// Address and port to serve metrics on
    #[arg(long, value_name = "string")]
    pub(crate) metrics_addr: Option<String>,
    /// How readily the kernel kills the daemon for memory: -1000 to 1000
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pub(crate) oom_score_adjust: Option<i32>,
    /// Features by name: name=true
    #[arg(long = "feature", value_name = "map", value_parser = words::feature)]
    #[serde(skip)]
    pub(crate) feature: Vec<(String, bool)>,
    #[arg(skip)]
    pub(crate) features: BTreeMap<String, bool>,
    /// Another runtime that containers may name: name=path
    #[arg(long = "add-runtime", value_name = "runtime", value_parser = words::runtime)]
    #[serde(skip)]
    pub(crate) add_runtime: Vec<(String, Runtime)>,
    #[arg(skip)]
    pub(crate) runtimes: BTreeMap<String, Runtime>,
    /// Runtime of containers that name none
    #[arg(long, value_name = "string")]
    pub(crate) default_runtime: Option<String>,
    /// Give containers users that are nobody on the host: default, or a user and group with ranges of ids
    #[arg(long, value_name = "string")]
    pub(crate) userns_remap: Option<String>,
    /// IPC mode of containers that name none: private or shareable
    #[arg(long, value_name = "string")]
    pub(crate) default_ipc_mode: Option<String>,
    /// Cgroup namespace of containers that name none: private or host
    #[arg(long, value_name = "string")]
    pub(crate) default_cgroupns_mode: Option<String>,
    /// Proxy for registries without TLS, instead of the environment's
    #[arg(long, value_name = "string")]
    pub(crate) http_proxy: Option<String>,
    /// Proxy for registries with TLS, instead of the environment's
    #[arg(long, value_name = "string")]
    pub(crate) https_proxy: Option<String>,
    /// Hosts and networks that no proxy leads to, instead of the environment's
    #[arg(long, value_name = "string")]
    pub(crate) no_proxy: Option<String>,
    /// Directories with plugins, instead of Hull's and Docker's
    #[arg(long = "plugin-dir", value_name = "list")]
    pub(crate) plugin_dirs: Vec<PathBuf>,
}

/// Seconds that requests under way get when nobody says otherwise.
pub(crate) const SHUTDOWN: i64 = 15;

/// One pool that networks get their subnets from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressPool {
    /// The pool, as 10.10.0.0/16.
    pub(crate) base: String,
    /// The prefix length of each network in it.
    pub(crate) size: u8,
}

/// One resource limit, by its name without "RLIMIT_".
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct Ulimit {
    /// "nofile".
    pub(crate) name: String,
    /// -1: unlimited.
    pub(crate) soft: i64,
    /// -1: unlimited.
    pub(crate) hard: i64,
}

/// Another runtime.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Runtime {
    /// Its program.
    pub(crate) path: PathBuf,
    /// What stands before the action on its command line.
    pub(crate) runtime_args: Vec<String>,
    /// The name of a containerd shim, which cannot be had here.
    pub(crate) runtime_type: String,
    /// The shim's options.
    pub(crate) options: Option<serde_json::Value>,
}

impl Settings {
    /// The proxies that are named, by what stands before `-proxy`.
    pub(crate) fn named_proxies(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("http", &self.http_proxy), ("https", &self.https_proxy), ("no", &self.no_proxy)];
        all.into_iter().filter_map(|(kind, value)| Some((kind, value.as_deref()?)))
    }

    /// Seconds that requests under way get when the daemon stops; `None`: for ever.
    pub(crate) fn patience(&self) -> Option<u64> {
        // Less than nothing is for ever, as in dockerd.
        u64::try_from(self.shutdown_timeout.unwrap_or(SHUTDOWN)).ok()
    }

    /// Whether clients have to show a certificate: with TLS they have, unless somebody says no.
    pub(crate) fn verifies_clients(&self) -> bool {
        self.tls && self.tlsverify.unwrap_or(true)
    }

    /// Whether containers run on without the daemon.
    pub(crate) fn live_restore(&self) -> bool {
        self.live_restore.unwrap_or(true)
    }

    /// Where specifications of CDI devices are; nowhere if that is switched off, `None` if nobody says.
    pub(crate) fn cdi_directories(&self) -> Option<Vec<PathBuf>> {
        if self.features.get("cdi") == Some(&false) {
            return Some(Vec::new());
        }
        let named = self.cdi_spec_dirs.as_ref()?.iter().filter(|path| !path.as_os_str().is_empty());
        Some(named.cloned().collect())
    }
}

/// What the command line asks for.
pub(crate) struct CommandLine {
    /// The settings of flags and file together.
    pub(crate) settings: Settings,
    /// Only check the configuration.
    pub(crate) validate: bool,
    /// What was accepted without effect, to be logged.
    pub(crate) warnings: Vec<String>,
}

/// The parser of the command line: one table for help, completions and the man page.
pub(crate) fn command() -> Command {
    let command = Command::new("hulld")
        .about("The daemon of the Hull container engine")
        .version(env!("CARGO_PKG_VERSION"))
        // As for dockerd: of a flag that takes one value and is given twice, the last one holds.
        .args_override_self(true)
        .arg(Arg::new("config-file").long("config-file").value_name("string").help("Configuration file"))
        .arg(
            Arg::new("print")
                .long("print")
                .value_name("what")
                .value_parser(["man", "bash", "zsh", "fish"])
                .hide_short_help(true)
                .help("Print the manual page, or the completions of a shell, and exit"),
        )
        .arg(
            Arg::new("validate")
                .long("validate")
                .action(ArgAction::SetTrue)
                .help("Check the configuration and exit"),
        );
    let command = Settings::augment_args(command);
    let command = foreign::WITHOUT_MEANING.iter().fold(command, |command, (name, takes_value, why)| {
        command.arg(unused(name, *takes_value).help(format!("No effect: {why}")))
    });
    foreign::REFUSED.iter().fold(command, |command, (name, takes_value)| {
        command.arg(unused(name, *takes_value).help("Not supported yet: refused"))
    })
}

/// A flag of dockerd that is only recognized.
fn unused(name: &'static str, takes_value: bool) -> Arg {
    let arg = Arg::new(name).long(name).hide_short_help(true);
    match takes_value {
        true => arg.action(ArgAction::Append).value_name("string"),
        // Go's flags: `--iptables` and `--iptables=false` are both right.
        false => arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("bool"),
    }
}

/// Resolves flags and file.
///
/// # Errors
/// A message for standard error: a file that cannot be read or parsed, a key given twice, a value that makes no sense.
pub(crate) fn resolve(matches: &ArgMatches) -> Result<CommandLine, String> {
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let switched_off = |name: &str| matches.get_one::<String>(name).is_some_and(|value| value == "false");
    if let Some((name, _)) = foreign::REFUSED.iter().find(|(name, _)| given(name) && !switched_off(name)) {
        return Err(refusal(&format!("--{name}")));
    }
    let mut settings = Settings::from_arg_matches(matches).map_err(|why| why.to_string())?;
    let ulimits = std::mem::take(&mut settings.default_ulimit).into_iter();
    settings.default_ulimits = ulimits.map(|limit| (limit.name.clone(), limit)).collect();
    settings.log_opts = std::mem::take(&mut settings.log_opt).into_iter().collect();
    settings.features = std::mem::take(&mut settings.feature).into_iter().collect();
    for (driver, name, value) in std::mem::take(&mut settings.default_network_opt) {
        settings.default_network_opts.entry(driver).or_default().insert(name, value);
    }
    for (name, runtime) in std::mem::take(&mut settings.add_runtime) {
        if settings.runtimes.insert(name.clone(), runtime).is_some() {
            return Err(format!("runtime '{name}' was already defined"));
        }
    }
    let without = foreign::WITHOUT_MEANING.iter().filter(|(name, ..)| given(name));
    let mut warnings: Vec<_> =
        without.map(|(name, _, why)| format!("--{name} has no effect: {why}")).collect();
    let named = matches.get_one::<String>("config-file");
    let path = Path::new(named.map_or(CONFIG_FILE, String::as_str));
    match file::read(path, named.is_some(), matches)? {
        Some(file) => {
            warnings.extend(file.warnings);
            settings.merge(file.settings);
            check(&mut settings).map_err(|why| {
                let what = "merged configuration validation from file and command line flags failed";
                format!("unable to configure the Docker daemon with file {}: {what}: {why}", path.display())
            })?;
        }
        None => check(&mut settings)?,
    }
    Ok(CommandLine { settings, validate: matches.get_flag("validate"), warnings })
}

/// Refuses what makes no sense, and writes short forms in full.
fn check(settings: &mut Settings) -> Result<(), String> {
    settings.tls |= settings.tlsverify.is_some();
    if settings.tls && settings.hosts.is_empty() {
        // Who wants TLS means TCP.
        settings.hosts.push(String::new());
    }
    settings.hosts = hosts::in_full(&settings.hosts, settings.tls)?;
    check::settings(settings)
}

/// What is said of a promise that cannot be kept.
fn refusal(what: &str) -> String {
    format!("{what} is not supported yet, and hulld does not start without what it promises")
}

//! What hulld is told: dockerd's flags and the keys of `daemon.json`, resolved once into [`Settings`].
//!
//! Source: dockerd(8) and its daemon.json. A key may stand in the file or among the flags, not in both. A flag
//! that has no meaning here is accepted with a warning that says so, so that what starts dockerd can start hulld.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde::Deserialize;

/// Where the configuration is when nobody says otherwise; there it may be absent.
const CONFIG_FILE: &str = "/etc/hull/daemon.json";

/// Flags of dockerd without a meaning in Hull: (name, whether it takes a value, why it has none).
const WITHOUT_MEANING: &[(&str, bool, &str)] = &[
    ("add-runtime", true, "other runtimes are not supported yet"),
    ("allow-nondistributable-artifacts", true, "every layer is pushed"),
    ("api-cors-header", true, "browsers are not served"),
    ("bridge-accept-fwmark", true, "marks are not looked at"),
    ("containerd", true, "there is no containerd behind hulld"),
    ("containerd-namespace", true, "there is no containerd behind hulld"),
    ("containerd-plugins-namespace", true, "there is no containerd behind hulld"),
    ("cpu-rt-period", true, "real-time scheduling is set by container"),
    ("cpu-rt-runtime", true, "real-time scheduling is set by container"),
    ("cri-containerd", false, "there is no containerd behind hulld"),
    ("default-cgroupns-mode", true, "the default is private on cgroup v2, host on v1"),
    ("default-gateway", true, "the default bridge is the gateway"),
    ("default-gateway-v6", true, "IPv6 is not supported yet"),
    ("default-ipc-mode", true, "the default is private"),
    ("default-network-opt", true, "networks take options when they are created"),
    ("default-runtime", true, "other runtimes are not supported yet"),
    ("exec-opt", true, "cgroups are managed as files"),
    ("experimental", false, "nothing is hidden behind it"),
    ("feature", true, "there are no features to switch"),
    ("firewall-backend", true, "hulld speaks nftables"),
    ("fixed-cidr-v6", true, "IPv6 is not supported yet"),
    ("http-proxy", true, "use the environment"),
    ("https-proxy", true, "use the environment"),
    ("init-path", true, "the init is hull-shim"),
    ("ip-forward-no-drop", false, "forwarding of others is left alone"),
    ("iptables", false, "hulld speaks nftables"),
    ("ip6tables", false, "hulld speaks nftables"),
    ("ipv6", false, "IPv6 is not supported yet"),
    ("live-restore", false, "containers always outlive the daemon"),
    ("metrics-addr", true, "metrics are not supported yet"),
    ("network-control-plane-mtu", true, "there is no swarm"),
    ("no-proxy", true, "use the environment"),
    ("node-generic-resource", true, "there is no swarm"),
    ("oom-score-adjust", true, "use OOMScoreAdjust= of the unit"),
    ("raw-logs", false, "logs have no colour when they are not on a terminal"),
    ("storage-driver", true, "the snapshotter is overlay"),
    ("storage-opt", true, "the snapshotter is overlay"),
    ("swarm-default-advertise-addr", true, "there is no swarm"),
    ("userland-proxy", false, "published ports need no process"),
    ("userland-proxy-path", true, "published ports need no process"),
];

/// Flags of dockerd that promise protection which Hull cannot give yet: better not to start than to start without.
const REFUSED: &[(&str, bool)] = &[
    ("authorization-plugin", true),
    ("rootless", false),
    ("selinux-enabled", false),
    ("userns-remap", true),
];

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
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// debug, info, warn, error or fatal
    #[arg(short = 'l', long, value_name = "string")]
    pub(crate) log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "string")]
    pub(crate) log_format: Option<String>,
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
    pub(crate) max_concurrent_downloads: Option<usize>,
    /// Parallel uploads of each push
    #[arg(long, value_name = "int")]
    pub(crate) max_concurrent_uploads: Option<usize>,
    /// How often a broken download is taken up again
    #[arg(long, value_name = "int")]
    pub(crate) max_download_attempts: Option<usize>,
    /// Resource limits of containers that name none: nofile=1024:524288
    #[arg(long = "default-ulimit", value_name = "list", value_parser = parse_ulimit)]
    #[serde(skip)]
    pub(crate) default_ulimit: Vec<Ulimit>,
    #[arg(skip)]
    pub(crate) default_ulimits: BTreeMap<String, Ulimit>,
    /// Serve TLS
    #[arg(long)]
    pub(crate) tls: bool,
    /// Serve TLS and want a client certificate of our authority
    #[arg(long)]
    pub(crate) tlsverify: bool,
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
    #[arg(long = "default-address-pool", value_name = "list", value_parser = parse_pool)]
    #[serde(rename = "default-address-pools")]
    pub(crate) default_address_pools: Vec<AddressPool>,
    /// Part of the default bridge's subnet that containers get addresses from
    #[arg(long, value_name = "string")]
    pub(crate) fixed_cidr: Option<String>,
    /// Whether containers of the default bridge reach each other
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) icc: Option<bool>,
    /// Whether the default bridge masquerades
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_masq: Option<bool>,
    /// Whether to switch forwarding on
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_forward: Option<bool>,
    /// Host address of published ports that name none
    #[arg(long, value_name = "ip")]
    pub(crate) ip: Option<String>,
    /// Address that host-gateway means
    #[arg(long, value_name = "ip")]
    pub(crate) host_gateway_ip: Option<String>,
    /// Directories with specifications of CDI devices
    #[arg(long = "cdi-spec-dir", value_name = "list")]
    #[serde(rename = "cdi-spec-dirs")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// MTU of the default bridge
    #[arg(long, value_name = "int")]
    pub(crate) mtu: Option<u32>,
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
    #[arg(long = "log-opt", value_name = "map", value_parser = parse_pair)]
    #[serde(skip)]
    pub(crate) log_opt: Vec<(String, String)>,
    #[arg(skip)]
    pub(crate) log_opts: BTreeMap<String, String>,
    /// Labels of the daemon
    #[arg(long = "label", value_name = "list")]
    #[serde(rename = "labels")]
    pub(crate) labels: Vec<String>,
    /// Run an init in every container
    #[arg(long)]
    pub(crate) init: bool,
    /// Size of /dev/shm, as 64M
    #[arg(long, value_name = "bytes")]
    pub(crate) default_shm_size: Option<String>,
    /// Seccomp profile of containers that name none: a file, or `builtin`
    #[arg(long, value_name = "string")]
    pub(crate) seccomp_profile: Option<String>,
    /// Set no-new-privileges on every container
    #[arg(long)]
    pub(crate) no_new_privileges: bool,
    /// Seconds to wait for requests under way when the daemon stops
    #[arg(long, value_name = "int")]
    pub(crate) shutdown_timeout: Option<u64>,
}

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
    let command = WITHOUT_MEANING.iter().fold(command, |command, (name, takes_value, why)| {
        command.arg(foreign(name, *takes_value).help(format!("No effect: {why}")))
    });
    REFUSED.iter().fold(command, |command, (name, takes_value)| {
        command.arg(foreign(name, *takes_value).help("Not supported yet: refused"))
    })
}

/// A flag of dockerd that is only recognized.
fn foreign(name: &'static str, takes_value: bool) -> Arg {
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
/// A message for standard error: a file that cannot be read or parsed, a key given twice.
pub(crate) fn resolve(matches: &ArgMatches) -> Result<CommandLine, String> {
    let given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    let switched_off = |name: &str| matches.get_one::<String>(name).is_some_and(|value| value == "false");
    if let Some((name, _)) = REFUSED.iter().find(|(name, _)| given(name) && !switched_off(name)) {
        return Err(format!(
            "--{name} is not supported yet, and hulld does not start without what it promises"
        ));
    }
    let mut settings = Settings::from_arg_matches(matches).map_err(|why| why.to_string())?;
    let ulimits = std::mem::take(&mut settings.default_ulimit).into_iter();
    settings.default_ulimits = ulimits.map(|limit| (limit.name.clone(), limit)).collect();
    settings.log_opts = std::mem::take(&mut settings.log_opt).into_iter().collect();
    let named = matches.get_one::<String>("config-file");
    let path = Path::new(named.map_or(CONFIG_FILE, String::as_str));
    if let Some(file) = read_file(path, named.is_some())? {
        settings.merge(file).map_err(|key| {
            format!(
                "unable to configure the daemon with file {}: the following directives are specified both as a \
                 flag and in the configuration file: {key}",
                path.display()
            )
        })?;
    }
    let without = WITHOUT_MEANING.iter().filter(|(name, ..)| given(name));
    let warnings = without.map(|(name, _, why)| format!("--{name} has no effect: {why}")).collect();
    Ok(CommandLine { settings, validate: matches.get_flag("validate"), warnings })
}

fn read_file(path: &Path, must_exist: bool) -> Result<Option<Settings>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(why) => {
            return Err(format!("unable to configure the daemon with file {}: {why}", path.display()));
        }
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|why| format!("unable to configure the daemon with file {}: {why}", path.display()))
}

impl Settings {
    /// Takes what `file` says where the flags say nothing; the key that both say is the error.
    fn merge(&mut self, file: Self) -> Result<(), &'static str> {
        macro_rules! merge {
            ($($field:ident $key:literal,)*) => {$(
                if is_set(&file.$field) {
                    if is_set(&self.$field) {
                        return Err($key);
                    }
                    self.$field = file.$field;
                }
            )*};
        }
        merge! {
            hosts "hosts", group "group", data_root "data-root", exec_root "exec-root", pidfile "pidfile",
            debug "debug", log_level "log-level", log_format "log-format",
            registry_mirrors "registry-mirrors", insecure_registries "insecure-registries",
            max_concurrent_downloads "max-concurrent-downloads", tls "tls", tlsverify "tlsverify",
            tlscacert "tlscacert", tlscert "tlscert", tlskey "tlskey", cgroup_parent "cgroup-parent",
            max_concurrent_uploads "max-concurrent-uploads", max_download_attempts "max-download-attempts",
            default_ulimits "default-ulimits", fixed_cidr "fixed-cidr", icc "icc", ip_masq "ip-masq",
            ip_forward "ip-forward", ip "ip", host_gateway_ip "host-gateway-ip",
            cdi_spec_dirs "cdi-spec-dirs",
            bridge "bridge", bip "bip", default_address_pools "default-address-pools", mtu "mtu",
            dns "dns", dns_search "dns-search", dns_opts "dns-opts", log_driver "log-driver",
            log_opts "log-opts", labels "labels", init "init", default_shm_size "default-shm-size",
            seccomp_profile "seccomp-profile", no_new_privileges "no-new-privileges",
            shutdown_timeout "shutdown-timeout",
        }
        Ok(())
    }
}

/// Whether somebody gave a value.
trait Given {
    fn given(&self) -> bool;
}

impl Given for bool {
    fn given(&self) -> bool {
        *self
    }
}

impl<T> Given for Option<T> {
    fn given(&self) -> bool {
        self.is_some()
    }
}

impl<T> Given for Vec<T> {
    fn given(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Given for BTreeMap<String, T> {
    fn given(&self) -> bool {
        !self.is_empty()
    }
}

fn is_set(value: &impl Given) -> bool {
    value.given()
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("invalid key=value pair {text:?}"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let invalid = || format!("invalid ulimit argument: {text}");
    let (name, values) = text.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |value: &str| value.parse().map_err(|_| invalid());
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

fn parse_pool(text: &str) -> Result<AddressPool, String> {
    let mut base = None;
    let mut size = None;
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", value)) => base = Some(value.to_owned()),
            Some(("size", value)) => size = value.parse().ok(),
            _ => return Err(format!("invalid field {field:?}: wanted base=CIDR,size=BITS")),
        }
    }
    match (base, size) {
        (Some(base), Some(size)) => Ok(AddressPool { base, size }),
        _ => Err("an address pool has a base and a size".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<CommandLine, String> {
        let matches =
            command().try_get_matches_from([&["hulld"], args].concat()).map_err(|why| why.to_string())?;
        resolve(&matches)
    }

    #[test]
    fn what_starts_dockerd_starts_hulld() {
        let line = parse(&[
            "-H",
            "unix:///tmp/a.sock",
            "-H",
            "tcp://127.0.0.1:1",
            "--iptables=false",
            "--live-restore",
            "--storage-driver",
            "overlay2",
            "-D",
            "--log-opt",
            "max-size=1m",
            "--default-address-pool",
            "base=10.10.0.0/16,size=24",
        ])
        .expect("these are dockerd's flags");
        assert_eq!(line.settings.hosts.len(), 2);
        assert!(line.settings.debug);
        assert_eq!(line.settings.default_address_pools[0].size, 24);
        assert_eq!(line.settings.log_opts["max-size"], "1m");
        assert_eq!(line.warnings.len(), 3);
    }

    #[test]
    fn protection_that_is_not_there_is_refused() {
        let refused = parse(&["--userns-remap", "default"]).err().expect("not supported");
        assert!(refused.contains("--userns-remap is not supported yet"), "{refused}");
        assert!(parse(&["--selinux-enabled=false"]).is_ok(), "nothing is promised");
    }

    #[test]
    fn a_key_is_given_once_and_known() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("daemon.json");
        let config = path.to_str().expect("utf-8");
        std::fs::write(&path, r#"{"debug": true, "data-root": "/x"}"#).expect("write");
        assert_eq!(
            parse(&["--config-file", config]).expect("right").settings.data_root,
            Some(PathBuf::from("/x"))
        );
        let twice = parse(&["--config-file", config, "--data-root", "/y"]).err().expect("twice");
        assert!(twice.contains("both as a flag and in the configuration file: data-root"), "{twice}");
        std::fs::write(&path, r#"{"no-such-key": 1}"#).expect("write");
        let unknown = parse(&["--config-file", config]).err().expect("unknown");
        assert!(unknown.contains("no-such-key"), "{unknown}");
        assert!(parse(&["--config-file", "/nonexistent/daemon.json"]).is_err());
    }
}

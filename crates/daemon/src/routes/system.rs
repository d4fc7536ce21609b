//! The daemon itself: ping, version, info, disk usage, registry login.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderValue, header};
use hull_api::version;
use hull_api::wire::system as wire;
use hull_api::wire::system::AuthConfig;
use hull_engine::model::go_bool;
use hull_engine::{BUILT_IN_RUNTIMES, Error, runtime_features};
use jiff::Timestamp;

use crate::Daemon;
use crate::call::{Call, Outcome, full, invalid, ok, spoken};
use crate::settings::Settings;
use crate::{parse, render};

/// What the version of the engine says.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn ping(_: Arc<Daemon>, _: Call) -> Outcome {
    let mut reply = http::Response::new(full("OK"));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    // Which builder clients should use: the classic one, which says that it is not there yet.
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(reply)
}

pub(super) async fn version(daemon: Arc<Daemon>, _: Call) -> Outcome {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let component = |name: &str, details: &[(&str, String)]| wire::Component {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        details: details.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
    };
    let details = [
        ("ApiVersion", version::MAX.to_string()),
        ("MinAPIVersion", version::MIN.to_string()),
        ("Os", "linux".to_owned()),
        ("Arch", architecture().to_owned()),
        ("KernelVersion", kernel.clone()),
        ("Experimental", daemon.settings().experimental.to_string()),
    ];
    ok(&wire::Version {
        platform: wire::VersionPlatform { name: "Hull".to_owned() },
        components: vec![
            component("Engine", &details),
            component("hull-runtime", &[]),
            component("hull-shim", &[]),
        ],
        version: VERSION.to_owned(),
        api_version: version::MAX.to_string(),
        min_api_version: version::MIN.to_string(),
        os: "linux".to_owned(),
        arch: architecture().to_owned(),
        kernel_version: kernel,
        experimental: daemon.settings().experimental,
        ..wire::Version::default()
    })
}

/// The architecture as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(super) async fn info(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let info = daemon.engine.info().await?;
    let uname = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let (release_name, release_version) = os_release();
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let settings = daemon.settings();
    let (devices, mut warnings) = devices(&daemon).await?;
    warnings.extend(exposed(&settings));
    let commit = || wire::Commit { expected: Some(String::new()), ..wire::Commit::default() };
    spoken(
        call.version,
        wire::Info {
            id: info.id,
            containers: count(info.containers),
            containers_running: count(info.running),
            containers_paused: count(info.paused),
            containers_stopped: count(info.stopped),
            images: count(info.images),
            driver: info.storage_driver,
            driver_status: info.storage_status,
            plugins: wire::Plugins {
                volume: daemon.engine.volume_drivers(),
                network: names(&["bridge", "cni", "host", "ipvlan", "macvlan", "null"]),
                authorization: None,
                log: names(daemon.engine.log_drivers()),
            },
            memory_limit: info.limits.is_some_and(|host| host.memory),
            swap_limit: info.limits.is_some_and(|host| host.swap),
            cpu_cfs_period: info.limits.is_some_and(|host| host.cpu_quota),
            cpu_cfs_quota: info.limits.is_some_and(|host| host.cpu_quota),
            cpu_shares: info.limits.is_some_and(|host| host.cpu_shares),
            cpu_set: info.limits.is_some_and(|host| host.cpuset),
            pids_limit: info.limits.is_some_and(|host| host.pids),
            ipv4_forwarding: forwarding(),
            debug: settings.debug,
            n_fd: count(std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)),
            // What goes on at the same time: here these are tasks.
            n_goroutines: count(tokio::runtime::Handle::current().metrics().num_alive_tasks()),
            oom_kill_disable: info.limits.is_some_and(|host| host.oom_kill_disable),
            system_time: render::time(Timestamp::now()),
            logging_driver: info.log_driver,
            cgroup_driver: info.cgroup_driver,
            cgroup_version: info.cgroup_version,
            n_events_listener: count(info.event_listeners),
            kernel_version: uname.release().to_string_lossy().into_owned(),
            operating_system: release_name,
            os_version: release_version,
            os_type: "linux".to_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: registries(&settings),
            n_cpu: count(std::thread::available_parallelism().map_or(1, Into::into)),
            mem_total: i64::try_from(memory.totalram.saturating_mul(u64::from(memory.mem_unit)))
                .unwrap_or(i64::MAX),
            docker_root_dir: info.data_root.to_string_lossy().into_owned(),
            http_proxy: proxy(settings.http_proxy.as_ref(), "HTTP_PROXY"),
            https_proxy: proxy(settings.https_proxy.as_ref(), "HTTPS_PROXY"),
            no_proxy: proxy(settings.no_proxy.as_ref(), "NO_PROXY"),
            name: uname.nodename().to_string_lossy().into_owned(),
            labels: settings.labels.clone(),
            server_version: VERSION.to_owned(),
            runtimes: runtimes(&daemon),
            default_runtime: info.default_runtime,
            swarm: wire::Swarm { local_node_state: "inactive".to_owned(), ..wire::Swarm::default() },
            experimental_build: settings.experimental,
            live_restore_enabled: settings.live_restore(),
            init_binary: "hull-shim".to_owned(),
            containerd_commit: commit(),
            runc_commit: commit(),
            init_commit: commit(),
            cdi_spec_dirs: directories(&daemon),
            discovered_devices: Some(devices),
            warnings: Some(warnings).filter(|list| !list.is_empty()),
            bridge_nf: Some(wire::BridgeFilter::default()),
            security_options: info.security_options,
            firewall_backend: Some(wire::FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
            ..wire::Info::default()
        },
    )
}

/// What everybody who reaches a TCP socket may do, in Docker's words.
fn exposed(settings: &Settings) -> Vec<String> {
    let (scheme, lacks) = match (settings.tls, settings.verifies_clients()) {
        (_, true) => return Vec::new(),
        (true, false) => ("https", "TLS client verification"),
        (false, false) => ("http", "encryption"),
    };
    let hosts = settings.hosts.iter().filter_map(|host| host.strip_prefix("tcp://"));
    let warning = |host| {
        format!(
            "WARNING: API is accessible on {scheme}://{host} without {lacks}.\n         Access to the remote API is \
             equivalent to root access on the host."
        )
    };
    hosts.map(warning).collect()
}

/// The CDI devices that there are, and what is wrong with the files that tell of them.
async fn devices(daemon: &Daemon) -> Result<(Vec<wire::DeviceInfo>, Vec<String>), Error> {
    let engine = Arc::clone(&daemon.engine);
    let (names, warnings) = tokio::task::spawn_blocking(move || engine.cdi_devices()).await?;
    let device = |id| wire::DeviceInfo { source: "cdi".to_owned(), id };
    Ok((names.into_iter().map(device).collect(), warnings))
}

fn directories(daemon: &Daemon) -> Vec<String> {
    let directories = daemon.engine.options().cdi_directories.iter();
    directories.map(|path| path.to_string_lossy().into_owned()).collect()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Where a runtime's status has what it can do.
const FEATURES: &str = "org.opencontainers.runtime-spec.features";

/// The names that containers may give, with what each of them runs: the built-in one as the program that it also is.
fn runtimes(daemon: &Daemon) -> BTreeMap<String, wire::Runtime> {
    let own = wire::Runtime {
        path: "hull-runtime".to_owned(),
        status: BTreeMap::from([(FEATURES.to_owned(), runtime_features().to_string())]),
        ..Default::default()
    };
    let own = BUILT_IN_RUNTIMES.iter().map(|name| ((*name).to_owned(), own.clone()));
    let added = daemon.engine.runtimes().added.into_iter().map(|(name, runtime)| {
        let path = runtime.program.to_string_lossy().into_owned();
        (name, wire::Runtime { path, runtime_args: runtime.arguments, ..Default::default() })
    });
    own.chain(added).collect()
}

/// A proxy as it is set, or else as the environment has it; credentials in its URL are nobody's business.
fn proxy(setting: Option<&String>, name: &str) -> String {
    let value = setting.cloned().or_else(|| crate::options::variable(name)).unwrap_or_default();
    crate::options::masked(&value)
}

fn forwarding() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "1")
}

/// The name and the version that os-release(5) gives.
pub(crate) fn os_release() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    (field("PRETTY_NAME"), field("VERSION_ID"))
}

fn registries(settings: &Settings) -> wire::RegistryConfig {
    let with_end = |url: &String| format!("{}/", url.trim_end_matches('/'));
    let mirrors: Vec<String> = settings.registry_mirrors.iter().map(with_end).collect();
    let index = |name: &str, secure: bool, official: bool| wire::IndexConfig {
        name: name.to_owned(),
        mirrors: if official { mirrors.clone() } else { Vec::new() },
        secure,
        official,
    };
    let insecure = &settings.insecure_registries;
    let (networks, hosts): (Vec<_>, Vec<_>) = insecure.iter().cloned().partition(|name| name.contains('/'));
    let mut configs = BTreeMap::from([("docker.io".to_owned(), index("docker.io", true, true))]);
    configs.extend(hosts.iter().map(|host| (host.clone(), index(host, false, false))));
    wire::RegistryConfig {
        index_configs: configs,
        insecure_registry_cidrs: ["::1/128".to_owned(), "127.0.0.0/8".to_owned()]
            .into_iter()
            .chain(networks)
            .collect(),
        mirrors: Some(mirrors.clone()).filter(|list| !list.is_empty()),
        nondistributable: Some(wire::Nondistributable::default()),
    }
}

/// The kinds of objects that `type` may name.
const KINDS: &[&str] = &["container", "image", "volume", "build-cache"];

pub(super) async fn disk_usage(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let kinds: Vec<&str> = if call.since(42) { call.query().all("type").collect() } else { Vec::new() };
    if let Some(other) = kinds.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(invalid(format!("unknown object type: {other}")));
    }
    let wants = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
    let usage = daemon.engine.disk_usage((wants("container"), wants("volume"))).await?;
    // Who asks by this name, for lists or for none, knows the newer form; all others get the older one, too.
    let asked = call.query().get("verbose").filter(|_| call.since(52));
    let lists = match asked.map(|word| (word, go_bool(word))) {
        None => Lists::Older,
        Some((_, Some(true))) => Lists::Newer,
        Some((_, Some(false))) => Lists::None,
        Some((word, None)) => return Err(invalid(format!("invalid value for verbose: {word}"))),
    };
    let mut answer = wire::DiskUsage::default();
    if !call.since(52) {
        answer.layers_size = Some(0);
        (answer.images, answer.containers) = (Some(None), Some(None));
        (answer.volumes, answer.build_cache) = (Some(None), Some(None));
    }
    if wants("image") {
        let images = render::image_usage(&daemon, &usage)?;
        answer.layers_size = Some(images.total_size).filter(|_| lists == Lists::Older);
        (answer.image_usage, answer.images) = told(images, lists);
    }
    if wants("container") {
        (answer.container_usage, answer.containers) = told(render::container_usage(&daemon, &usage), lists);
    }
    if wants("volume") {
        (answer.volume_usage, answer.volumes) = told(render::volume_usage(&usage), lists);
    }
    if wants("build-cache") {
        (answer.build_cache_usage, answer.build_cache) = told(wire::Usage::default(), lists);
    }
    spoken(call.version, answer)
}

/// Where a usage shows its objects one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// Beside the sums.
    Older,
    /// Within them.
    Newer,
    /// Nowhere.
    None,
}

/// The sums, with the list in its place.
fn told<T>(mut usage: wire::Usage<T>, lists: Lists) -> (Option<wire::Usage<T>>, Option<Option<Vec<T>>>) {
    let items = match lists {
        Lists::Newer => Vec::new(),
        Lists::Older | Lists::None => std::mem::take(&mut usage.items),
    };
    (Some(usage), (lists == Lists::Older).then_some(Some(items)))
}

pub(super) async fn auth(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let headers = call.headers.clone();
    let body: AuthConfig = call.json().await?;
    let registry = body.serveraddress.clone();
    let auth = parse::credentials(body, &headers);
    let token = daemon.engine.images().login(&registry, auth).await.map_err(Error::from)?;
    ok(&wire::AuthResponse {
        identity_token: token.unwrap_or_default(),
        status: "Login Succeeded".to_owned(),
    })
}

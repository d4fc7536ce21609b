//! What is counted and timed, and the listener that tells it in Prometheus' text format (`--metrics-addr`).
//!
//! The names are dockerd's. Counting costs a few instructions a request and is always done; figures that the engine has
//! anyway (containers by state, processors) are looked up when somebody asks. There is no library for that behind it:
//! the format is lines of text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Daemon;

/// The bounds of Prometheus' own histograms, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is timed: the routes, as their table writes them, the family and its label's value.
const TIMED: &[(Method, &str, Family, &str)] = &[
    (Method::POST, "/containers/create", Family::Container, "create"),
    (Method::POST, "/containers/{id...}/start", Family::Container, "start"),
    (Method::DELETE, "/containers/{id...}", Family::Container, "delete"),
    (Method::GET, "/containers/{id...}/changes", Family::Container, "changes"),
    (Method::POST, "/commit", Family::Container, "commit"),
    (Method::POST, "/networks/{id...}/connect", Family::Network, "connect"),
    (Method::POST, "/networks/{id...}/disconnect", Family::Network, "release"),
    (Method::GET, "/info", Family::Host, "system_info"),
    (Method::GET, "/version", Family::Host, "system_version"),
];

/// A histogram's name, help and label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Container,
    Network,
    Host,
}

impl Family {
    fn head(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Container => (
                "engine_daemon_container_actions_seconds",
                "The number of seconds it takes to process each container action",
                "action",
            ),
            Self::Network => (
                "engine_daemon_network_actions_seconds",
                "The number of seconds it takes to process each network action",
                "action",
            ),
            Self::Host => (
                "engine_daemon_host_info_functions_seconds",
                "The number of seconds it takes to call functions gathering info about the host",
                "function",
            ),
        }
    }
}

/// How often something took how long.
#[derive(Debug, Clone, Copy, Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Histogram {
    fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += 1;
        self.seconds += seconds;
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    timed: Mutex<BTreeMap<(Family, &'static str), Histogram>>,
    events: AtomicU64,
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn note(&self, method: &Method, pattern: &str, status: StatusCode, took: Duration) {
        // What failed did not happen; dockerd times only what did.
        if status.is_client_error() || status.is_server_error() {
            return;
        }
        let found = TIMED.iter().find(|(of, route, ..)| of == method && *route == pattern);
        if let Some((_, _, family, label)) = found {
            let mut timed = self.timed.lock().unwrap_or_else(PoisonError::into_inner);
            timed.entry((*family, label)).or_default().note(took);
        }
    }
}

/// Opens the socket.
///
/// # Errors
/// A message that names the address and the reason.
pub(crate) async fn listen(address: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|why| format!("serve metrics on {address}: {why}"))
}

/// Serves `/metrics` until `stop` changes.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("metrics API listening on {address}");
    }
    let counting = tokio::spawn(count_events(daemon.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (daemon, mut stop) = (daemon.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(daemon.clone(), request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
            tokio::select! {
                // A client that has left wants nothing more.
                _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                _ = stop.changed() => {}
            }
        });
    }
    counting.abort();
}

async fn count_events(daemon: Arc<Daemon>) {
    let (_, mut stream) = daemon.engine.events().subscribe();
    while stream.next().await.is_some() {
        daemon.metrics.events.fetch_add(1, Ordering::Relaxed);
    }
}

async fn answer(daemon: Arc<Daemon>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    if request.uri().path() != "/metrics" {
        let mut reply = Response::new(Full::from("404 page not found\n"));
        *reply.status_mut() = StatusCode::NOT_FOUND;
        return Ok(reply);
    }
    let mut reply = Response::new(Full::from(tell(&daemon).await));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(reply)
}

/// The text as it grows: each family with its head, then its samples.
struct Page(String);

impl Page {
    // Writing to a string does not fail.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let label = |(name, value): &(&str, &str)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        };
        let labels: Vec<_> = labels.iter().map(label).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn histograms(&mut self, family: Family, timed: &BTreeMap<(Family, &'static str), Histogram>) {
        let (name, help, label) = family.head();
        self.head(name, "histogram", help);
        for (_, _, of, value) in TIMED.iter().filter(|(_, _, of, _)| *of == family) {
            let histogram = timed.get(&(*of, *value)).copied().unwrap_or_default();
            for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                let bound = bound.to_string();
                self.sample(&format!("{name}_bucket"), &[(label, value), ("le", &bound)], count as f64);
            }
            let count = histogram.count as f64;
            self.sample(&format!("{name}_bucket"), &[(label, value), ("le", "+Inf")], count);
            self.sample(&format!("{name}_sum"), &[(label, value)], histogram.seconds);
            self.sample(&format!("{name}_count"), &[(label, value)], count);
        }
    }
}

/// Everything, as text.
async fn tell(daemon: &Daemon) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    let (metrics, engine) = (&daemon.metrics, &daemon.engine);
    let timed = metrics.timed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for family in [Family::Container, Family::Network, Family::Host] {
        page.histograms(family, &timed);
    }
    if let Ok(info) = engine.info().await {
        let name = "engine_daemon_container_states_containers";
        page.head(name, "gauge", "The count of containers in various states");
        for (state, count) in [("paused", info.paused), ("running", info.running), ("stopped", info.stopped)]
        {
            page.sample(name, &[("state", state)], count as f64);
        }
        about(&mut page, &info);
    }
    let (cpus, memory) = engine.size_of_machine();
    let help = "The number of cpus that the host system of the engine has";
    page.gauge("engine_daemon_engine_cpus_cpus", help, f64::from(cpus));
    let help = "The number of bytes of memory that the host system of the engine has";
    page.gauge("engine_daemon_engine_memory_bytes", help, memory as f64);
    let events = metrics.events.load(Ordering::Relaxed);
    page.counter("engine_daemon_events_total", "The number of events logged", events as f64);
    // One of them counts for this.
    let listeners = engine.events().listeners().saturating_sub(1);
    let help = "The number of current subscribers to events";
    page.gauge("engine_daemon_events_subscribers_total", help, listeners as f64);
    let (checks, failed) = engine.health_checks();
    page.counter("engine_daemon_health_checks_total", "The total number of health checks", checks as f64);
    let help = "The total number of failed health checks";
    page.counter("engine_daemon_health_checks_failed_total", help, failed as f64);
    process(&mut page);
    page.0
}

fn about(page: &mut Page, info: &hull_engine::model::Info) {
    let uname = rustix::system::uname();
    let (system, version) = crate::routes::os_release();
    let name = "engine_daemon_engine_info";
    page.head(name, "gauge", "The information related to the engine and the OS it is running on");
    let labels = [
        ("architecture", &*uname.machine().to_string_lossy()),
        ("commit", ""),
        ("daemon_id", &info.id),
        ("graphdriver", &info.storage_driver),
        ("kernel", &*uname.release().to_string_lossy()),
        ("os", &system),
        ("os_type", "linux"),
        ("os_version", &version),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    page.sample(name, &labels, 1.0);
}

/// What every program tells of itself to Prometheus: proc_pid_stat(5).
fn process(page: &mut Page) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(|field| field.trim().parse().unwrap_or_default())
        .collect();
    // The first of these is field 3 of the man page.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let help = "Total user and system CPU time spent in seconds.";
    page.counter("process_cpu_seconds_total", help, (field(14) + field(15)) / ticks);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    page.gauge("process_open_fds", "Number of open file descriptors.", open as f64);
    let resident = field(24) * rustix::param::page_size() as f64;
    page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident);
    page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", field(23));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::TABLE;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let metrics = Metrics::default();
        let start = |millis| {
            let took = Duration::from_millis(millis);
            metrics.note(&Method::POST, "/containers/{id...}/start", StatusCode::NO_CONTENT, took);
        };
        start(3);
        start(30);
        metrics.note(&Method::POST, "/containers/{id...}/start", StatusCode::NOT_FOUND, Duration::ZERO);
        let mut page = Page(String::new());
        page.histograms(Family::Container, &metrics.timed.lock().unwrap());
        let name = "engine_daemon_container_actions_seconds";
        for line in [
            format!("# TYPE {name} histogram"),
            format!("{name}_bucket{{action=\"start\",le=\"0.005\"}} 1"),
            format!("{name}_bucket{{action=\"start\",le=\"0.05\"}} 2"),
            format!("{name}_bucket{{action=\"start\",le=\"+Inf\"}} 2"),
            format!("{name}_sum{{action=\"start\"}} 0.033"),
            format!("{name}_count{{action=\"create\"}} 0"),
        ] {
            assert!(page.0.lines().any(|found| found == line), "{line}:\n{}", page.0);
        }
    }

    #[test]
    fn what_is_timed_is_a_row_of_the_table() {
        for (method, pattern, _, label) in TIMED {
            let is_there = TABLE.iter().any(|route| route.method == *method && route.pattern == *pattern);
            assert!(is_there, "{label}: {method} {pattern}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.sample("a", &[("b", "c\"d\\e\nf")], 1.5);
        assert_eq!(page.0, "a{b=\"c\\\"d\\\\e\\nf\"} 1.5\n");
    }
}

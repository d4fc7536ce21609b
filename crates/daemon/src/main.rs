//! `hulld`: the daemon. It owns sockets and routes; every decision is the engine's.
//!
//! A start is the list of steps in [`run`], in that order. The daemon has no state of its own: killed at any
//! moment, it starts again and the engine finds every container.

use std::io::Write;
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::ArgMatches;
use hull_engine::Engine;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

mod bare;
mod call;
mod dump;
mod listen;
mod logging;
mod manual;
mod metrics;
mod notify;
mod options;
mod parse;
mod pidfile;
mod reload;
mod remap;
mod render;
mod rest;
mod router;
mod routes;
mod server;
mod settings;
mod streams;
mod tls;
mod traces;
mod tunnel;
mod websocket;

use settings::{CommandLine, Settings};

/// Worker threads: requests wait for the kernel, they do not compute.
const WORKERS: usize = 2;
/// Heaps that all threads share, the blocking ones too, which come and go.
const HEAPS: u8 = 2;

/// What every handler may use.
pub(crate) struct Daemon {
    /// The owner of all state.
    pub(crate) engine: Arc<Engine>,
    /// What is counted and timed.
    pub(crate) metrics: metrics::Metrics,
    /// Where requests are told to, if anywhere.
    pub(crate) traces: Option<traces::Traces>,
    /// Whether anybody asks.
    pub(crate) rest: rest::Rest,
    settings: RwLock<Arc<Settings>>,
}

impl Daemon {
    /// What the daemon was told, as it is now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if tunnel::is_asked_for(words.next().as_ref()) {
        return tunnel::run(words);
    }
    let matches = settings::command().get_matches();
    if let Some(what) = matches.get_one::<String>("print") {
        return match manual::print(what) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever reads has what he wanted.
            Err(_) => ExitCode::FAILURE,
        };
    }
    hull_sys::memory::share_heaps(HEAPS);
    let outcome = settings::resolve(&matches).and_then(|line| {
        if line.validate {
            say("configuration OK");
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .map_err(|why| format!("start the worker threads: {why}"))?;
        // It ends with the process, and not before: a thread that still waits for a plugin must not find its clock gone.
        ManuallyDrop::new(runtime).block_on(run(line, &matches))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("hulld: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// From nothing to serving, and back.
async fn run(line: CommandLine, matches: &ArgMatches) -> Result<(), String> {
    let settings = line.settings;
    let log = logging::start(&settings)?;
    let overridden = options::overridden(&settings);
    line.warnings.iter().chain(&overridden).for_each(|warning| tracing::warn!("{warning}"));
    // Before the engine: two daemons on one state would be a disaster.
    let _pidfile = pidfile::claim(settings.pidfile.as_deref())?;
    if let Some(score) = settings.oom_score_adjust {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|why| format!("set oom_score_adj to {score}: {why}"))?;
    }
    let descriptors = options::raise_descriptors();
    let acceptor = tls::acceptor(&settings)?;
    // The engine finds what a former daemon left before anybody may ask.
    let mut options = options::of(&settings)?;
    options::keep_descriptors(&mut options, descriptors);
    let engine = Engine::open(options).await.map_err(|why| why.to_string())?;
    let hosts = match settings.hosts.as_slice() {
        [] => vec![listen::DEFAULT_HOST.to_owned()],
        hosts => hosts.to_vec(),
    };
    let (stop, stopped) = watch::channel(false);
    let mut listeners = Vec::new();
    for host in &hosts {
        listeners.extend(listen::open(host, settings.group.as_deref(), acceptor.as_ref()).await?);
        if host.starts_with("tcp://") && !settings.verifies_clients() {
            tracing::warn!(
                "{host} is open without --tlsverify: everybody who reaches it has root on this machine"
            );
        }
        tracing::info!("listening on {host}");
    }
    let metrics_address = settings.metrics_addr.clone();
    let daemon = Arc::new(Daemon {
        engine: engine.clone(),
        metrics: metrics::Metrics::default(),
        traces: traces::Traces::from_environment()?,
        rest: rest::Rest::default(),
        settings: RwLock::new(Arc::new(settings)),
    });
    let mut servers = JoinSet::new();
    if let Some(address) = metrics_address {
        let listener = metrics::listen(&address).await?;
        servers.spawn(metrics::serve(daemon.clone(), listener, stopped.clone()));
    }
    for listener in listeners {
        servers.spawn(server::serve(daemon.clone(), listener, stopped.clone()));
    }
    let resting = daemon.clone();
    tokio::spawn(async move { resting.rest.keep().await });
    notify::ready();
    wait_for_signal(|| reload::reload(&daemon, matches, &log), || dump::dump(&daemon)).await?;
    notify::stopping();
    let patience = daemon.settings().patience().map_or(Duration::MAX, Duration::from_secs);
    let _ = stop.send(true);
    let _ = tokio::time::timeout(patience, servers.join_all()).await;
    if let Some(traces) = &daemon.traces {
        traces.finish().await;
    }
    if !daemon.settings().live_restore() {
        engine.stop_all().await;
    }
    engine.shutdown().await;
    Ok(())
}

/// Waits until somebody asks the daemon to end. A hang-up reloads what can be reloaded, SIGUSR1 writes down what goes on.
async fn wait_for_signal(reload: impl Fn(), dump: impl Fn()) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|why| format!("listen for signals: {why}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut user = listen(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(),
            _ = user.recv() => dump(),
        }
    }
}

fn say(line: &str) {
    // Standard error is gone: nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

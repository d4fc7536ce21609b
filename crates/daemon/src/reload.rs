//! `kill -HUP`: the configuration is read again, and what can change while containers run does. The keys are those
//! that dockerd reloads; the others wait for the next start.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use clap::ArgMatches;
use hull_engine::EventKind;

use crate::logging::SetLevel;
use crate::settings::{self, Settings};
use crate::{Daemon, options};

/// Reads the configuration again. A mistake in it changes nothing and is logged.
pub(crate) fn reload(daemon: &Daemon, matches: &ArgMatches, set_level: &SetLevel) {
    let new = settings::resolve(matches).and_then(|line| {
        let next = taking_over(Settings::clone(&daemon.settings()), line.settings);
        let shm_size = options::shm_size(&next)?;
        set_level(&next).map(|()| (next, shm_size))
    });
    let (next, shm_size) = match new {
        Ok((next, shm_size)) => (Arc::new(next), shm_size),
        Err(why) => return tracing::error!("the configuration stays as it was: {why}"),
    };
    daemon.engine.set_default_shm_size(shm_size);
    daemon.engine.set_runtimes(options::runtimes(&next));
    daemon.engine.images().set_settings(options::images(&next));
    *daemon.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
    let attributes = attributes(daemon, &next, shm_size);
    tracing::info!("Reloaded configuration: {attributes:?}, {}", proxies(&next));
    daemon.engine.events().emit(EventKind::Daemon, "reload", daemon.engine.id(), attributes);
}

fn taking_over(old: Settings, new: Settings) -> Settings {
    Settings {
        debug: new.debug,
        labels: new.labels,
        registry_mirrors: new.registry_mirrors,
        insecure_registries: new.insecure_registries,
        max_concurrent_downloads: new.max_concurrent_downloads,
        max_concurrent_uploads: new.max_concurrent_uploads,
        max_download_attempts: new.max_download_attempts,
        shutdown_timeout: new.shutdown_timeout,
        live_restore: new.live_restore,
        features: new.features,
        runtimes: new.runtimes,
        default_runtime: new.default_runtime,
        default_shm_size: new.default_shm_size,
        ..old
    }
}

/// The features as Go prints a map.
fn features(settings: &Settings) -> String {
    let pairs = settings.features.iter().map(|(name, value)| format!("{name}:{value}"));
    format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
}

/// The runtimes that were added, as `name:{path [arguments]}`.
fn runtimes(settings: &Settings) -> String {
    let each = settings.runtimes.iter().map(|(name, runtime)| {
        format!("{name}:{{{} [{}]}}", runtime.path.display(), runtime.runtime_args.join(" "))
    });
    each.collect::<Vec<_>>().join(" ")
}

/// The proxies, without anybody's password.
fn proxies(settings: &Settings) -> String {
    let said =
        settings.named_proxies().map(|(kind, value)| format!("{kind}-proxy: {}", options::masked(value)));
    said.collect::<Vec<_>>().join(", ")
}

/// What the event tells, in dockerd's words.
fn attributes(daemon: &Daemon, settings: &Settings, shm_size: i64) -> BTreeMap<String, String> {
    let list = |items: &[String]| serde_json::json!(items).to_string();
    let images = options::images(settings);
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let attributes = [
        ("name", name),
        ("debug", settings.debug.to_string()),
        ("labels", list(&settings.labels)),
        ("registry-mirrors", list(&settings.registry_mirrors)),
        ("insecure-registries", list(&settings.insecure_registries)),
        ("max-concurrent-downloads", images.max_concurrent_downloads.to_string()),
        ("max-concurrent-uploads", images.max_concurrent_uploads.to_string()),
        ("max-download-attempts", images.max_download_attempts.to_string()),
        ("shutdown-timeout", settings.shutdown_timeout.unwrap_or(crate::settings::SHUTDOWN).to_string()),
        ("features", features(settings)),
        ("live-restore", settings.live_restore().to_string()),
        ("default-runtime", options::runtimes(settings).default),
        ("runtimes", runtimes(settings)),
        ("default-shm-size", shm_size.to_string()),
        ("default-ipc-mode", daemon.engine.options().default_ipc_mode.clone()),
        ("default-cgroupns-mode", daemon.engine.cgroupns_mode(false)),
        ("allow-nondistributable-artifacts", "[]".to_owned()),
    ];
    attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

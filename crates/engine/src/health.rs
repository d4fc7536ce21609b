//! Probing the health of running containers: one task each, for as long as the run lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt;

use crate::containers::Entry;
use crate::model::{ExecConfig, ExecStart, Health, HealthProbe, HealthStatus, Healthcheck, Status};
use crate::{Engine, Result};

/// Probes that are remembered.
const KEPT: usize = 5;
/// Bytes of a probe's output that are remembered.
const OUTPUT: usize = 4096;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

impl Engine {
    /// Probes a container that runs, if it wants that, until this run ends.
    pub(crate) fn watch_health(self: &Arc<Self>, entry: &Arc<Entry>) {
        let container = entry.now();
        if !container.has_healthcheck() {
            return;
        }
        let Some(check) = container.config.healthcheck.clone() else { return };
        if !check.test.first().is_some_and(|kind| kind == "CMD" || kind == "CMD-SHELL") {
            // As in Docker, which takes such a test and does nothing with it.
            tracing::warn!(container = entry.id, "unknown kind of health check: {:?}", check.test.first());
            return;
        }
        if container.state.health.is_none() {
            entry.change_in_memory(|container| container.state.health = Some(Health::default()));
        }
        let (engine, entry) = (Arc::clone(self), Arc::clone(entry));
        let mut over = entry.next_exit();
        tokio::spawn(async move {
            tokio::select! {
                () = engine.probe_for_ever(&entry, &check) => {}
                () = over.reached() => {}
            }
        });
    }

    async fn probe_for_ever(self: &Arc<Self>, entry: &Arc<Entry>, check: &Healthcheck) {
        let or = |wanted: Duration, default: Duration| if wanted.is_zero() { default } else { wanted };
        let begun = tokio::time::Instant::now();
        loop {
            let starting = begun.elapsed() < check.start_period && is_starting(entry);
            let pause = match starting {
                true => or(check.start_interval, START_INTERVAL),
                false => or(check.interval, INTERVAL),
            };
            tokio::time::sleep(pause).await;
            if entry.now().state.status != Status::Running {
                continue;
            }
            let start = Timestamp::now();
            let (exit_code, output) = match self.probe(entry, check, or(check.timeout, TIMEOUT)).await {
                Ok(outcome) => outcome,
                Err(error) => (-1, error.message),
            };
            self.probes.fetch_add(1, Ordering::Relaxed);
            self.failed_probes.fetch_add(u64::from(exit_code != 0), Ordering::Relaxed);
            let probe = HealthProbe { start, end: Timestamp::now(), exit_code, output };
            self.record_probe(entry, check, probe, begun.elapsed() < check.start_period);
        }
    }

    async fn probe(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        check: &Healthcheck,
        timeout: Duration,
    ) -> Result<(i32, String)> {
        let container = entry.now();
        let shell = container.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
        let cmd = match check.test.split_first() {
            Some((kind, script)) if kind == "CMD-SHELL" => {
                shell.into_iter().chain(script.iter().cloned()).collect()
            }
            Some((_, command)) => command.to_vec(),
            None => Vec::new(),
        };
        let config =
            ExecConfig { cmd, attach_stdout: true, attach_stderr: true, tty: false, ..ExecConfig::default() };
        let id = self.exec_create_probe(entry, config)?;
        let Some(mut session) = self.exec_start(&id, ExecStart::default()).await? else {
            return Ok((-1, String::new()));
        };
        let mut framed = Vec::new();
        let read = async {
            let mut chunk = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = session.output.read(&mut chunk).await {
                // What is too much is read all the same: the probe must not wait for us.
                framed.extend_from_slice(&chunk[..count.min((2 * OUTPUT).saturating_sub(framed.len()))]);
            }
        };
        if tokio::time::timeout(timeout, read).await.is_err() {
            self.exec_kill(&self.exec_inspect(&id)?, 9).await?;
            let said = text_of(&framed);
            let colon = if said.is_empty() { "" } else { ": " };
            let text = format!("Health check exceeded timeout ({}){colon}{said}", go_duration(timeout));
            return Ok((-1, text));
        }
        let ended = self.exec_inspect(&id)?;
        if ended.pid == 0 {
            // It could not be started, and its output is why.
            return Ok((-1, text_of(&framed).trim_end_matches("\r\n").to_owned()));
        }
        Ok((ended.exit_code.unwrap_or(-1), text_of(&framed)))
    }

    fn record_probe(&self, entry: &Entry, check: &Healthcheck, probe: HealthProbe, in_start_period: bool) {
        let retries = if check.retries == 0 { RETRIES } else { check.retries };
        let before = entry.now().state.health.as_ref().map(|health| health.status);
        entry.change_in_memory(|container| {
            let health = container.state.health.get_or_insert_default();
            judge(health, probe.exit_code == 0, retries, in_start_period);
            health.log.push(probe);
            let surplus = health.log.len().saturating_sub(KEPT);
            health.log.drain(..surplus);
        });
        let container = entry.now();
        let after = container.state.health.as_ref().map(|health| health.status);
        if let Some(status) = after.filter(|_| after != before) {
            self.emit(&container, format!("health_status: {}", status.name()));
        }
    }
}

fn is_starting(entry: &Entry) -> bool {
    entry.now().state.health.as_ref().is_none_or(|health| health.status == HealthStatus::Starting)
}

/// What one more probe means.
fn judge(health: &mut Health, succeeded: bool, retries: u32, in_start_period: bool) {
    if succeeded {
        health.failing_streak = 0;
        health.status = HealthStatus::Healthy;
        return;
    }
    // Until a container was healthy once, failures in its start period are none.
    if in_start_period && health.status == HealthStatus::Starting {
        return;
    }
    health.failing_streak += 1;
    if health.failing_streak >= retries {
        health.status = HealthStatus::Unhealthy;
    }
}

/// A time as Go writes it: "1m30s", "1.5s", "50ms".
fn go_duration(time: Duration) -> String {
    let nanoseconds = time.subsec_nanos();
    let below = |unit: u32, name: &str| format!("{}{name}", f64::from(nanoseconds) / f64::from(unit));
    match time.as_secs() {
        0 if nanoseconds == 0 => "0s".to_owned(),
        0 if nanoseconds < 1_000 => below(1, "ns"),
        0 if nanoseconds < 1_000_000 => below(1_000, "µs"),
        0 => below(1_000_000, "ms"),
        all => {
            let (hours, minutes) = (all / 3600, all / 60 % 60);
            let seconds = Duration::new(all % 60, nanoseconds).as_secs_f64();
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// The payloads of multiplexed frames, as text.
fn text_of(mut framed: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((header, rest)) = framed.split_at_checked(8) {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let (payload, rest) = rest.split_at(length.min(rest.len()));
        text.extend_from_slice(payload);
        framed = rest;
    }
    let more = if text.len() > OUTPUT { "..." } else { "" };
    text.truncate(OUTPUT);
    String::from_utf8_lossy(&text).into_owned() + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_only_in_a_row_and_after_the_start() {
        let mut health = Health::default();
        judge(&mut health, false, 2, true);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        judge(&mut health, true, 2, true);
        judge(&mut health, false, 2, true);
        assert_eq!(health.status, HealthStatus::Healthy);
        judge(&mut health, false, 2, false);
        assert_eq!(health.status, HealthStatus::Unhealthy);
        judge(&mut health, true, 2, false);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
    }

    #[test]
    fn times_are_gos() {
        let said = [1_000_000, 50, 90_000_000, 1_500_000, 30_000_000, 3_661_000_000];
        let said = said.map(|microseconds| go_duration(Duration::from_micros(microseconds)));
        assert_eq!(said, ["1s", "50µs", "1m30s", "1.5s", "30s", "1h1m1s"]);
        assert_eq!(go_duration(Duration::from_millis(50)), "50ms");
        assert_eq!(go_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn frames_become_text() {
        assert_eq!(text_of(b"\x01\0\0\0\0\0\0\x02ok\x02\0\0\0\0\0\0\x05cut"), "okcut");
    }
}

//! `kill -USR1`: a state dump in the log and in a file below the exec root, for whoever wonders what the daemon does.

use std::fmt::Write as _;

use crate::Daemon;

/// Writes down what there is. Failing costs only the dump.
pub(crate) fn dump(daemon: &Daemon) {
    let text = describe(daemon);
    let name = format!("state-{}.log", jiff::Timestamp::now().strftime("%Y-%m-%dT%H%M%SZ"));
    let path = daemon.engine.options().exec_root.join(name);
    match std::fs::write(&path, text) {
        Ok(()) => tracing::info!("state written to {}", path.display()),
        Err(why) => tracing::error!("write the state to {}: {why}", path.display()),
    }
}

fn describe(daemon: &Daemon) -> String {
    let mut text = format!("hulld {} pid {}\n", env!("CARGO_PKG_VERSION"), std::process::id());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = ["VmRSS:", "VmHWM:", "Threads:", "FDSize:"];
    for line in status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name))) {
        let _ = writeln!(text, "{line}");
    }
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let (name, wait) = (read("comm"), read("wchan"));
        let _ = writeln!(text, "thread {} {} in {wait}", task.file_name().to_string_lossy(), name.trim());
    }
    let metrics = tokio::runtime::Handle::current().metrics();
    let _ = writeln!(text, "tasks {} workers {}", metrics.num_alive_tasks(), metrics.num_workers());
    let _ = writeln!(text, "listeners of events {}", daemon.engine.events().listeners());
    for container in daemon.engine.containers() {
        let state = &container.state;
        let _ = writeln!(
            text,
            "container {} {} {:?} pid {} supervisor {}",
            container.id, container.name, state.status, state.pid, state.shim_pid
        );
    }
    for volume in daemon.engine.recorded_volumes() {
        let _ = writeln!(text, "volume {} {} mounts {:?}", volume.name, volume.driver, volume.mounts);
    }
    text
}

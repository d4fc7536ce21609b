//! `events`: what a container uses, again and again, and when it runs out of memory. One JSON object a line:
//! `{"type":"stats"|"oom","id":…,"data":…}`, in the shape that runc made known.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hull_cgroup::{Cgroup, Counter, Details, Device, OomWatch, Stats};
use hull_sys::Context;
use lexopt::{Arg, Parser, ValueExt};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Map, Value, json};

use super::container::Container;
use super::error::{Error, Result};
use super::{Global, print, require, take_id};

/// How often the use is told unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let (mut id, mut once, mut interval) = (None, false, INTERVAL);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("stats") => once = true,
            Arg::Long("interval") => interval = duration(&parser.value()?.string()?)?,
            Arg::Value(value) => take_id(&mut id, value)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let container = Container::open(&global.root, &require(id)?)?;
    let record = container.load()?;
    let (Some(pidfd), Some(cgroup)) = (record.pidfd()?, record.cgroup()?) else {
        return Err(Error::new(format!("container not running: {}", container.id())));
    };
    if once {
        print(&stats(container.id(), &cgroup)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let watch = cgroup.watch_oom();
    if let Err(error) = &watch {
        global.log.warning(&format!("no events for lack of memory: {error}"));
    }
    follow(container.id(), &cgroup, watch.ok(), pidfd.as_fd(), interval)?;
    Ok(ExitCode::SUCCESS)
}

/// Until the container's first process has ended.
fn follow(
    id: &str,
    cgroup: &Cgroup,
    mut watch: Option<OomWatch>,
    process: impl AsFd,
    interval: Duration,
) -> Result<()> {
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = left.try_into().map_err(|_| Error::usage("the interval is too long"))?;
        let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
        fds.extend(watch.as_ref().map(|watch| PollFd::new(watch, watch.interest())));
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).op("poll")?;
        let ended = !fds[0].revents().is_empty();
        for _ in 0..watch.as_mut().map_or(0, OomWatch::take) {
            print(&format!("{}\n", json!({ "type": "oom", "id": id })))?;
        }
        if ended {
            return Ok(());
        }
        if ready == 0 {
            next = Instant::now() + interval;
            print(&stats(id, cgroup)?)?;
        }
    }
}

/// A duration as Go writes it: `5s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration> {
    let invalid = || Error::usage(format!("{text:?} is no duration like 5s or 500ms"));
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit = match &rest[digits..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| invalid())?;
        rest = &rest[unit_end..];
    }
    match total.is_zero() {
        true => Err(Error::usage("the duration of an interval must be greater than 0")),
        false => Ok(total),
    }
}

fn stats(id: &str, cgroup: &Cgroup) -> Result<String> {
    let data = data(&cgroup.stats()?, &cgroup.details());
    Ok(format!("{}\n", json!({ "type": "stats", "id": id, "data": data })))
}

fn data(stats: &Stats, details: &Details) -> Value {
    let huge_pages = details.huge_pages.iter().map(|(size, counter)| (size.clone(), counter_of(*counter)));
    json!({
        "cpu": cpu(stats, details),
        "cpuset": cpuset(details),
        "memory": memory(stats, details),
        "pids": pids(stats),
        "blkio": blkio(stats),
        "hugetlb": huge_pages.collect::<Map<_, _>>(),
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn cpu(stats: &Stats, details: &Details) -> Value {
    let cpu = &stats.cpu;
    let mut usage = json!({ "total": cpu.total, "kernel": cpu.system, "user": cpu.user });
    if !cpu.per_cpu.is_empty() {
        usage["percpu"] = json!(cpu.per_cpu);
        usage["percpu_user"] = details.per_cpu.iter().map(|(user, _)| *user).collect();
        usage["percpu_kernel"] = details.per_cpu.iter().map(|(_, kernel)| *kernel).collect();
    }
    let throttling = [
        ("periods", cpu.periods),
        ("throttledPeriods", cpu.throttled_periods),
        ("throttledTime", cpu.throttled),
    ];
    let throttling = throttling.iter().filter(|(_, value)| *value > 0);
    let throttling: Map<_, _> = throttling.map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({ "usage": usage, "throttling": throttling })
}

fn cpuset(details: &Details) -> Value {
    let mut cpuset = json!({ "cpus": details.cpuset.cpus, "mems": details.cpuset.mems });
    for (name, value) in &details.cpuset.switches {
        cpuset[*name] = json!(value);
    }
    cpuset
}

fn memory(stats: &Stats, details: &Details) -> Value {
    let raw = stats.memory.counters.iter().map(|(key, value)| (key.clone(), json!(value)));
    json!({
        "usage": counter_of(details.memory),
        "swap": counter_of(details.swap),
        "kernel": counter_of(details.kernel),
        "kernelTCP": counter_of(details.kernel_tcp),
        "cache": stats.memory.counter("cache").or_else(|| stats.memory.counter("file")).unwrap_or(0),
        "raw": raw.collect::<Map<_, _>>(),
    })
}

fn counter_of(counter: Counter) -> Value {
    let Counter { usage, max, failures, limit } = counter;
    json!({ "usage": usage, "max": max, "failcnt": failures, "limit": limit })
}

fn pids(stats: &Stats) -> Value {
    let mut pids = json!({ "current": stats.pids.current });
    if let Some(limit) = stats.pids.limit {
        pids["limit"] = json!(limit);
    }
    pids
}

fn blkio(stats: &Stats) -> Value {
    let entry = |device: &Device| {
        let mut operation = device.operation.clone();
        operation[..1].make_ascii_uppercase();
        json!({ "major": device.major, "minor": device.minor, "op": operation, "value": device.value })
    };
    let mut blkio = Map::new();
    for (key, devices) in
        [("ioServiceBytesRecursive", &stats.blkio.bytes), ("ioServicedRecursive", &stats.blkio.requests)]
    {
        if !devices.is_empty() {
            blkio.insert(key.to_owned(), devices.iter().map(entry).collect());
        }
    }
    Value::Object(blkio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("1m30.5s").unwrap(), Duration::from_millis(90_500));
        assert_eq!(duration("20ms").unwrap(), Duration::from_millis(20));
        for wrong in ["", "5", "s", "5 s", "0s", "-1s", "9e9h"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}

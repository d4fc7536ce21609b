//! Limits against the real kernel, whichever version of cgroups it runs. Needs root.
//!
//! Every test makes cgroups below one of its own and checks at its end that none is left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hull_cgroup::{Cgroup, Error, Version, support};
use hull_oci::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType,
    LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
    LinuxThrottleDeviceBuilder,
};

/// A cgroup with a parent of its own; the end of a test empties and removes both.
struct Scratch {
    cgroup: Cgroup,
    parent: String,
}

impl Scratch {
    fn new(test: &str) -> Self {
        let parent = match std::env::var("HULL_TEST_MARK") {
            Ok(mark) => format!("/{mark}"),
            Err(_) => format!("/hull-test-{}-{test}", std::process::id()),
        };
        Self { cgroup: Cgroup::create(&format!("{parent}/one")).unwrap(), parent }
    }

    /// Starts a shell script inside, by way of this test program (see [`inside`]).
    fn run(&self, script: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "inside", "--nocapture"])
            .env("HULL_TEST_CGROUP", self.cgroup.path())
            .env("HULL_TEST_SCRIPT", script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a shell script inside to its end and hands back what it wrote behind the mark.
    fn output(&self, script: &str) -> String {
        let output = self.run(&format!("echo MARK; {script}")).wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_once("MARK\n").map(|(_, text)| text.trim().to_owned()).unwrap_or(text)
    }

    fn apply(&self, resources: LinuxResources) {
        self.cgroup.apply(&resources).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.cgroup.thaw();
        let _ = self.cgroup.kill();
        let removed = Cgroup::open(&self.parent).and_then(|parent| parent.remove());
        let left: Vec<_> = self.cgroup.directories().into_iter().filter(|(_, dir)| dir.exists()).collect();
        if !std::thread::panicking() {
            removed.unwrap();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// No test by itself: what [`Scratch::run`] starts. Enters the cgroup and becomes the script.
#[test]
fn inside() {
    let (Ok(path), Ok(script)) = (std::env::var("HULL_TEST_CGROUP"), std::env::var("HULL_TEST_SCRIPT"))
    else {
        return;
    };
    Cgroup::open(&path).unwrap().entry().unwrap().enter().unwrap();
    panic!("{}", Command::new("sh").args(["-c", &script]).exec());
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn resources() -> LinuxResourcesBuilder {
    LinuxResourcesBuilder::default()
}

#[test]
fn a_process_enters_every_hierarchy() {
    let scratch = Scratch::new("enter");
    let seen = scratch.output("cat /proc/self/cgroup");
    let path = scratch.cgroup.path();
    let named: Vec<_> = seen.lines().filter(|line| line.ends_with(path)).collect();
    assert_eq!(named.len(), scratch.cgroup.directories().len(), "{seen}");
}

#[test]
fn memory_over_the_limit_kills_and_is_counted() {
    let scratch = Scratch::new("memory");
    let limit = 32 << 20;
    let memory = LinuxMemoryBuilder::default().limit(limit).swap(limit).build().unwrap();
    scratch.apply(resources().memory(memory).build().unwrap());
    assert_eq!(scratch.cgroup.stats().unwrap().memory.limit, Some(32 << 20));
    assert_eq!(scratch.cgroup.oom_kills(), 0);
    // tail keeps what it may still have to print: of an endless line, everything.
    let status = scratch.run("ulimit -v 1000000; exec tail /dev/zero").wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    assert_eq!(scratch.cgroup.oom_kills(), 1);
}

#[test]
fn a_memory_limit_moves_both_ways() {
    let scratch = Scratch::new("resize");
    for limit in [64 << 20, 16 << 20, 128 << 20, -1_i64] {
        let swap = if limit < 0 { -1 } else { 2 * limit };
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(swap).build().unwrap();
        scratch.apply(resources().memory(memory).build().unwrap());
        assert_eq!(scratch.cgroup.stats().unwrap().memory.limit, u64::try_from(limit).ok());
    }
}

#[test]
fn a_full_pids_limit_stops_forks() {
    let scratch = Scratch::new("pids");
    let pids = LinuxPidsBuilder::default().limit(3).build().unwrap();
    scratch.apply(resources().pids(pids).build().unwrap());
    let mut child = scratch.run("for i in 1 2 3 4 5 6; do sleep 20 & done; wait");
    eventually("the third task", || scratch.cgroup.stats().unwrap().pids.current == 3);
    assert_eq!(scratch.cgroup.stats().unwrap().pids.limit, Some(3));
    scratch.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_quota_throttles() {
    let scratch = Scratch::new("quota");
    let cpu = LinuxCpuBuilder::default().quota(5_000).period(50_000_u64).shares(512_u64).build().unwrap();
    scratch.apply(resources().cpu(cpu).build().unwrap());
    let mut child = scratch.run("while :; do :; done");
    eventually("throttling", || scratch.cgroup.stats().unwrap().cpu.throttled_periods >= 2);
    scratch.cgroup.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let cpu = scratch.cgroup.stats().unwrap().cpu;
    assert!(cpu.total > 1_000_000 && cpu.throttled > 0 && cpu.periods >= cpu.throttled_periods, "{cpu:?}");
}

#[test]
fn a_cpuset_binds() {
    let scratch = Scratch::new("cpuset");
    let cpu = LinuxCpuBuilder::default().cpus("0").mems("0").build().unwrap();
    scratch.apply(resources().cpu(cpu).build().unwrap());
    assert_eq!(scratch.output("grep Cpus_allowed_list /proc/self/status"), "Cpus_allowed_list:\t0");
}

#[test]
fn a_frozen_cgroup_stands_still() {
    let scratch = Scratch::new("freeze");
    let mut child = scratch.run("while :; do :; done");
    let used = || scratch.cgroup.stats().unwrap().cpu.total;
    eventually("work", || used() > 0);
    scratch.cgroup.freeze().unwrap();
    assert!(scratch.cgroup.frozen().unwrap());
    let before = used();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(used(), before);
    scratch.cgroup.thaw().unwrap();
    assert!(!scratch.cgroup.frozen().unwrap());
    eventually("work again", || used() > before);
    scratch.cgroup.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn an_empty_cgroup_can_be_frozen() {
    let scratch = Scratch::new("empty");
    scratch.cgroup.freeze().unwrap();
    assert!(scratch.cgroup.frozen().unwrap());
}

#[test]
fn kill_reaches_what_keeps_forking() {
    let scratch = Scratch::new("kill");
    let pids = LinuxPidsBuilder::default().limit(64).build().unwrap();
    scratch.apply(resources().pids(pids).build().unwrap());
    let mut child = scratch.run("f() { while :; do sleep 0.001; done; }; for i in 1 2 3 4; do f & done; f");
    eventually("forks", || scratch.cgroup.pids().unwrap().len() > 4);
    scratch.cgroup.kill().unwrap();
    child.wait().unwrap();
    eventually("the end of all", || scratch.cgroup.pids().unwrap().is_empty());
}

#[test]
fn devices_are_denied_unless_allowed() {
    let scratch = Scratch::new("devices");
    let deny = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
    let kmsg = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(LinuxDeviceType::C)
        .major(1)
        .minor(11)
        .access("r");
    let script = "head -c 1 /dev/zero >/dev/null && echo zero; (: </dev/kmsg) 2>/dev/null && echo kmsg";
    assert_eq!(scratch.output(script), "zero\nkmsg");
    scratch.apply(resources().devices(vec![deny.clone()]).build().unwrap());
    assert_eq!(scratch.output(script), "zero");
    scratch.apply(resources().devices(vec![deny, kmsg.build().unwrap()]).build().unwrap());
    assert_eq!(scratch.output(script), "zero\nkmsg");
    let all = LinuxDeviceCgroupBuilder::default().allow(true).access("rwm").build().unwrap();
    scratch.apply(resources().devices(vec![all]).build().unwrap());
    assert_eq!(scratch.output(script), "zero\nkmsg");
}

/// The texts of the files of that name, in any hierarchy.
fn files(scratch: &Scratch, name: &str) -> Vec<String> {
    let dirs = scratch.cgroup.directories().into_iter();
    dirs.filter_map(|(_, dir)| std::fs::read_to_string(dir.join(name)).ok())
        .map(|text| text.trim().to_owned())
        .collect()
}

#[test]
fn huge_pages_are_limited_in_use_and_in_reserve() {
    let scratch = Scratch::new("hugetlb");
    let limit = LinuxHugepageLimitBuilder::default().page_size("2MB").limit(4 << 20).build().unwrap();
    match scratch.cgroup.apply(&resources().hugepage_limits(vec![limit]).build().unwrap()) {
        Err(Error::Unsupported(_)) => assert!(scratch.cgroup.details().huge_pages.is_empty()),
        applied => {
            applied.unwrap();
            let either = |v1, v2| [files(&scratch, v1), files(&scratch, v2)].concat();
            assert_eq!(either("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), ["4194304"]);
            assert_eq!(either("hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"), ["4194304"]);
        }
    }
}

#[test]
fn a_throttle_reaches_its_device() {
    let scratch = Scratch::new("throttle");
    let device = std::fs::read_dir("/sys/block").unwrap().flatten().find_map(|device| {
        let number = std::fs::read_to_string(device.path().join("dev")).ok()?;
        let (major, minor) = number.trim().split_once(':')?;
        Some((major.parse::<i64>().ok()?, minor.parse::<i64>().ok()?))
    });
    // A virtual machine may have no disk at all.
    let Some((major, minor)) = device else { return };
    let throttle = |rate: u64| {
        vec![LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build().unwrap()]
    };
    let io = LinuxBlockIoBuilder::default().throttle_read_bps_device(throttle(1 << 20)).build().unwrap();
    scratch.apply(resources().block_io(io).build().unwrap());
    let read = || [files(&scratch, "blkio.throttle.read_bps_device"), files(&scratch, "io.max")].concat();
    assert!(read()[0].contains("1048576"), "{:?}", read());
    let io = LinuxBlockIoBuilder::default().throttle_read_bps_device(throttle(0)).build().unwrap();
    scratch.apply(resources().block_io(io).build().unwrap());
    assert!(!read()[0].contains("1048576"), "{:?}", read());
}

#[test]
fn half_of_a_quota_leaves_the_other_half() {
    let scratch = Scratch::new("half");
    let apply = |cpu: LinuxCpuBuilder| scratch.apply(resources().cpu(cpu.build().unwrap()).build().unwrap());
    apply(LinuxCpuBuilder::default().quota(20_000).period(50_000_u64));
    apply(LinuxCpuBuilder::default().period(40_000_u64));
    apply(LinuxCpuBuilder::default().quota(10_000));
    match scratch.cgroup.version() {
        Version::V2 => assert_eq!(files(&scratch, "cpu.max"), ["10000 40000"]),
        _ => {
            assert_eq!(files(&scratch, "cpu.cfs_quota_us"), ["10000"]);
            assert_eq!(files(&scratch, "cpu.cfs_period_us"), ["40000"]);
        }
    }
}

#[test]
fn swap_alone_refers_to_the_limit_that_is_set() {
    let scratch = Scratch::new("swap");
    let memory = |memory: LinuxMemoryBuilder| resources().memory(memory.build().unwrap()).build().unwrap();
    scratch.apply(memory(LinuxMemoryBuilder::default().limit(32 << 20)));
    scratch.apply(memory(LinuxMemoryBuilder::default().swap(48 << 20)));
    let swap = [files(&scratch, "memory.memsw.limit_in_bytes"), files(&scratch, "memory.swap.max")].concat();
    let expected = if scratch.cgroup.version() == Version::V2 { 16 << 20 } else { 48 << 20 };
    assert_eq!(swap, [expected.to_string()]);
    let old = LinuxMemoryBuilder::default().use_hierarchy(true).kernel_tcp(1 << 20);
    scratch.apply(memory(old));
}

#[test]
fn lack_of_memory_is_told() {
    let scratch = Scratch::new("oom");
    let limit = 16 << 20;
    let memory = LinuxMemoryBuilder::default().limit(limit).swap(limit).build().unwrap();
    scratch.apply(resources().memory(memory).build().unwrap());
    let mut watch = scratch.cgroup.watch_oom().unwrap();
    assert_eq!(watch.take(), 0);
    let mut child = scratch.run("ulimit -v 1000000; exec tail /dev/zero");
    let mut told = 0;
    eventually("being told", || {
        told += watch.take();
        told > 0
    });
    child.wait().unwrap();
}

#[test]
fn a_limit_the_host_cannot_enforce_is_an_error() {
    let scratch = Scratch::new("unsupported");
    let unified = resources().unified([("memory.high".to_owned(), "max".to_owned())]).build().unwrap();
    let outcome = scratch.cgroup.apply(&unified);
    match scratch.cgroup.version() {
        Version::V2 => outcome.unwrap(),
        _ => assert!(matches!(outcome, Err(Error::Unsupported(_))), "{outcome:?}"),
    }
    let nonsense = resources().unified([("../memory.high".to_owned(), "1".to_owned())]).build().unwrap();
    assert!(scratch.cgroup.apply(&nonsense).is_err());
}

#[test]
fn a_limit_the_kernel_refuses_names_the_file() {
    let scratch = Scratch::new("refused");
    let cpu = LinuxCpuBuilder::default().cpus("4095").build().unwrap();
    let refused = scratch.cgroup.apply(&resources().cpu(cpu).build().unwrap());
    let Err(Error::Invalid(text)) = refused else { panic!("{refused:?}") };
    assert!(text.starts_with("set cpuset.cpus to 4095 in /"), "{text}");
}

#[test]
fn children_are_removed_with_their_parent() {
    let scratch = Scratch::new("nested");
    let inner = Cgroup::create(&format!("{}/inner/most", scratch.cgroup.path())).unwrap();
    scratch.cgroup.remove().unwrap();
    assert!(inner.directories().iter().all(|(_, dir)| !dir.exists()));
    assert!(matches!(Cgroup::open(scratch.cgroup.path()), Err(Error::NotFound(_))));
    scratch.cgroup.remove().unwrap();
}

/// Whoever ends a container may be slower than its end.
#[test]
fn one_that_was_removed_meanwhile_is_not_found() {
    let scratch = Scratch::new("meanwhile");
    let cgroup = &scratch.cgroup;
    cgroup.remove().unwrap();
    let limit = resources().pids(LinuxPidsBuilder::default().limit(10).build().unwrap()).build().unwrap();
    let outcomes = [cgroup.frozen().map(drop), cgroup.freeze(), cgroup.thaw(), cgroup.apply(&limit)];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Error::NotFound(_))), "{outcome:?}");
    }
    assert_eq!((cgroup.kill(), cgroup.pids()), (Ok(()), Ok(Vec::new())));
}

#[test]
fn a_failed_create_leaves_nothing() {
    let scratch = Scratch::new("undo");
    let middle = format!("{}/middle", scratch.cgroup.path());
    assert!(Cgroup::create(&format!("{middle}/{}", "x".repeat(5000))).is_err());
    assert!(matches!(Cgroup::open(&middle), Err(Error::NotFound(_))));
}

#[test]
fn many_are_made_at_once_below_a_new_parent() {
    let scratch = Scratch::new("parallel");
    let path = |n: usize| format!("{}/new/{n}", scratch.parent);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let path = path(n);
            scope.spawn(move || Cgroup::create(&path).unwrap().entry().unwrap());
        }
    });
    assert!((0..8).all(|n| Cgroup::open(&path(n)).is_ok()));
}

#[test]
fn paths_that_climb_are_refused() {
    for path in ["hull", "/", "/a/../b", "/a//b", "/a/.", "/a\nb"] {
        assert!(matches!(Cgroup::create(path), Err(Error::Invalid(_))), "{path:?}");
    }
}

#[test]
fn the_host_says_what_it_can_limit() {
    let support = support().unwrap();
    assert!(support.memory && support.pids && support.cpu_quota && support.freezer, "{support:?}");
}

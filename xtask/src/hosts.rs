//! The tests that depend on the host's version of cgroups, once more on the kinds of host that this one is not:
//! version 2 alone in a virtual machine (`tests/vm/run`), and on a hybrid host also version 1 alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::say;
use crate::trial::{Failures, PROGRAMS, target_directory};

/// What `tests/vm/run` exits with when there is no machine to be had.
const NO_MACHINE: i32 = 125;

/// The test binaries for version 2, by target name: of the cgroup crate, of the runtime, and of the whole engine; and
/// those of networks and file systems for which the kernel of some hosts has no drivers.
const VERSION_2: [&str; 11] = [
    "hierarchies",
    "lifecycle",
    "confinement",
    "commandline",
    "checkpoint",
    "checkpoints",
    "spec",
    "cgroups",
    "runtimes",
    "vlans",
    "quotas",
];

/// Of the tests of the specification, those to which the cgroup matters: how processes come into it, and what they see.
const OF_THE_SPEC: &str = "namespaces:: the_cgroup hooks_ devices_of a_profile_confines security_modules";

/// Of the tests of other runtimes, what a hybrid host cannot show.
const OF_RUNTIMES: &str = "crun_runs";

/// Of the tests of checkpoints, those that criu must work for.
const OF_CHECKPOINTS: &str = "goes_on input_and";

/// The programs that they run, from where `trial` has gathered them.
const RUN_BY_THEM: [&str; 4] = ["hull", "hulld", "hull-shim", "hull-runtime"];

/// Programs of the host that the tests need there: criu with what it executes, since the kernels of some hosts are too
/// new for it, AppArmor's parser, since the machine's kernel has AppArmor, runtimes of others, and makers of file systems.
const OF_THE_HOST: [&str; 8] = [
    "/usr/sbin/criu",
    "/usr/sbin/ip",
    "/usr/bin/tar",
    "/usr/sbin/apparmor_parser",
    "/usr/sbin/runc",
    "/usr/bin/crun",
    "/usr/sbin/mkfs.xfs",
    "/usr/sbin/mkfs.ext4",
];

/// How long the machine may take, in seconds: it may have to be emulated.
const PATIENCE: &str = "600";

/// Those for version 1 alone.
const VERSION_1: [&str; 1] = ["hierarchies"];

/// What the machine runs: every test binary, and whether all of them succeeded. They have the machine to themselves,
/// so they need no namespaces of their own.
const ALL_OF_THEM: &str = r#"
export HULL_BIN_DIR=$1 HULL_TEST_MARK=hull-test-vm
shift
failed=0
for test; do $test --test-threads 1 || failed=1; done
exit $failed
"#;

/// What it exits with when the machine came to a stand.
const STOOD_STILL: i32 = 124;

/// Where a hybrid host has its version 2 hierarchy.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Runs them, and adds to `failures`. Where QEMU cannot be had that is said, and is a failure only if the machine was
/// `asked` for.
pub(crate) fn run(binaries: &[(String, PathBuf, PathBuf)], asked: bool, failures: &mut Failures) {
    let those =
        |targets: &'static [&str]| binaries.iter().filter(|(target, ..)| targets.contains(&target.as_str()));
    if Path::new(UNIFIED).join("cgroup.procs").exists() {
        those(&VERSION_1).for_each(|(target, binary, _)| on_version_1(target, binary, failures));
    }
    let tests: Vec<_> =
        those(&VERSION_2).map(|(target, binary, _)| (target.as_str(), binary.as_path())).collect();
    on_version_2(&tests, asked, failures);
}

/// In a mount namespace without the version 2 hierarchy.
fn on_version_1(target: &str, binary: &Path, failures: &mut Failures) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!(r#"umount {UNIFIED} && exec "$0""#)).arg(binary);
    judge(format!("{target} on cgroup version 1"), command, None, failures);
}

/// All in one machine, since its boot takes longer than most of them.
fn on_version_2(tests: &[(&str, &Path)], asked: bool, failures: &mut Failures) {
    let target = target_directory();
    let programs = RUN_BY_THEM.map(|name| target.join(PROGRAMS).join(name));
    // What the runtime's tests run: they look where cargo has built it.
    let built = target.join("debug/hull-runtime");
    let host = OF_THE_HOST.map(Path::new).into_iter().filter(|file| file.exists());
    let files = programs.iter().map(PathBuf::as_path).chain([built.as_path()]).chain(host);
    let mut command = Command::new("tests/vm/run");
    for file in files.chain(tests.iter().map(|(_, binary)| *binary)) {
        command.arg("-f").arg(file);
    }
    command.env("HULL_VM_TIMEOUT", PATIENCE).args(["/bin/busybox", "sh", "-c", ALL_OF_THEM, "sh"]);
    command.arg(target.join(PROGRAMS)).args(tests.iter().map(|(target, binary)| words(target, binary)));
    let label = "the engine and what is below it on cgroup version 2".to_owned();
    judge(label, command, (!asked).then_some(NO_MACHINE), failures);
}

/// A test binary, with the names of the tests that are wanted if not all are.
fn words(target: &str, binary: &Path) -> String {
    let filter = match target {
        "spec" => OF_THE_SPEC,
        "runtimes" => OF_RUNTIMES,
        "checkpoints" => OF_CHECKPOINTS,
        _ => "",
    };
    format!("{} {filter}", binary.display())
}

/// Runs a command, and once more if it fails: a test may be unsteady, and an emulated machine on a busy host locks up
/// now and then. The status that is `excused` is only told.
fn judge(label: String, mut command: Command, excused: Option<i32>, failures: &mut Failures) {
    let (code, why) = attempt(&mut command);
    match code {
        Some(0) => return say(format!("{label}: ok")),
        code if excused.is_some() && code == excused => return say(format!("{label}: NOT RUN\n{why}")),
        _ => say(format!("{label}: FAILED, once more")),
    }
    match attempt(&mut command) {
        // A machine that came to a stand says nothing of the tests.
        (Some(0), _) if code == Some(STOOD_STILL) => say(format!("{label}: ok")),
        (Some(0), _) => failures.unsteady.push((label, why)),
        _ => failures.lasting.push((label, why)),
    }
}

/// Its exit status, if it has one, and what it printed.
fn attempt(command: &mut Command) -> (Option<i32>, String) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&text).into_owned())
        }
        Err(why) => (Some(NO_MACHINE), format!("{command:?}: {why}")),
    }
}

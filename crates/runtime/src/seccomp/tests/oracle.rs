//! libseccomp's program for a policy, by way of a small C program (Debian: gcc, libseccomp-dev).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use hull_oci::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};

/// The policy as libseccomp compiles it when it is asked as the OCI runtimes ask.
pub(super) fn compile(spec: &LinuxSeccomp) -> Vec<u8> {
    let mut oracle = Command::new(program())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the oracle");
    oracle.stdin.take().unwrap().write_all(script(spec).as_bytes()).unwrap();
    let output = oracle.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed: {}", output.status);
    output.stdout
}

/// Builds the C program once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("hull-seccomp-oracle-{}", std::process::id()));
        let source = include_str!("../../../tests/seccomp-oracle.c");
        let compiler = Command::new("cc")
            .args(["-O1", "-x", "c", "-", "-lseccomp", "-o"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn();
        let mut compiler = compiler.expect("run cc");
        compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        assert!(compiler.wait().unwrap().success(), "building seccomp-oracle.c needs libseccomp-dev");
        // The program stays in memory as long as it is open, and no file is left behind.
        let held = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
        std::mem::forget(held);
        let path = path.replace("self", &std::process::id().to_string());
        PathBuf::from(path)
    })
}

/// One line a step: `default ACTION`, `arch NAME`, `rule NAME ACTION [index op a b]…`.
fn script(spec: &LinuxSeccomp) -> String {
    let number = |action: Action, errno: Option<u32>| action.as_u32(errno);
    let default = number(spec.default_action(), spec.default_errno_ret());
    let mut script = format!("default {default}\n");
    for arch in spec.architectures().iter().flatten() {
        let name = arch.to_string().to_lowercase();
        writeln!(script, "arch {}", name.trim_start_matches("scmp_arch_")).unwrap();
    }
    for rule in spec.syscalls().iter().flatten() {
        let action = number(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        let args = rule.args().clone().unwrap_or_default();
        let text = |arg: &hull_oci::runtime::LinuxSeccompArg| {
            format!(" {} {} {} {}", arg.index(), arg.op() as u32, arg.value(), arg.value_two().unwrap_or(0))
        };
        let twice = args.iter().any(|a| args.iter().filter(|b| a.index() == b.index()).count() > 1);
        let alternatives: Vec<String> = match twice {
            true => args.iter().map(text).collect(),
            false => vec![args.iter().map(text).collect()],
        };
        for name in rule.names() {
            for conditions in &alternatives {
                writeln!(script, "rule {name} {action}{conditions}").unwrap();
            }
        }
    }
    script
}

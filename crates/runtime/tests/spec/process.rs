//! config.md, "Process" and "Linux Process".

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Bed, other_runtime, runtime_is, text};

/// Real-time priority and policy alone: the other policies have no nice value, and keep that of the caller.
const POLICY: &str = "awk '{print $40, $41}' /proc/self/stat";

/// Nice value, real-time priority and policy: fields 19, 40 and 41 of proc_pid_stat(5).
const SCHEDULING: &str = "awk '{print $19, $40, $41}' /proc/self/stat";

crate::prints! {
    the_scheduler_is_other lacks "runc" "crun": { "process": { "scheduler": { "policy": "SCHED_OTHER", "nice": 7 } } },
        SCHEDULING => "7 0 0\n";
    the_scheduler_is_batch lacks "runc" "crun": { "process": { "scheduler": { "policy": "SCHED_BATCH", "nice": -3 } } },
        SCHEDULING => "-3 0 3\n";
    the_scheduler_is_idle lacks "runc" "crun": { "process": { "scheduler": { "policy": "SCHED_IDLE" } } },
        POLICY => "0 5\n";
    the_io_priority_is_set lacks "runc" "crun": { "process": { "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 6 } } },
        "ionice -p $$" => "best-effort: prio 6\n";
    the_io_priority_is_idle lacks "runc" "crun": { "process": { "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 0 } } },
        "ionice -p $$" => "idle\n";
    the_personality_is_that_of_32_bits lacks "runc": { "linux": { "personality": { "domain": "LINUX32" } } }, "uname -m" => "i686\n";
    the_personality_is_the_usual_one lacks "runc": { "linux": { "personality": { "domain": "LINUX" } } }, "uname -m" => "x86_64\n";
    the_killer_of_memory_is_told: { "process": { "oomScoreAdj": 55 } }, "cat /proc/self/oom_score_adj" => "55\n";
    the_umask_is_set: { "process": { "user": { "uid": 0, "gid": 0, "umask": 63 } } }, "umask" => "0077\n";
    all_groups_are_set: { "process": { "user": { "uid": 5, "gid": 6, "additionalGids": [7, 8] } } },
        "id -u; id -g; id -G" => "5\n6\n6 7 8\n";
    the_environment_is_that_of_the_spec: { "process": { "env": ["PATH=/bin", "A=1", "B=", "A=2"] } },
        "echo $A; echo ${B-none}; env | grep -c ^A=" => "2\n\n1\n";
    new_privileges_can_be_had: { "process": { "noNewPrivileges": false } },
        "grep NoNewPrivs /proc/self/status" => "NoNewPrivs:\t0\n";
    the_limits_are_all_set: { "process": { "rlimits": [
            { "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }, { "type": "RLIMIT_NOFILE", "soft": 33, "hard": 44 },
            { "type": "RLIMIT_CPU", "soft": 77, "hard": 18_446_744_073_709_551_615_u64 },
            { "type": "RLIMIT_MSGQUEUE", "soft": 5, "hard": 6 }, { "type": "RLIMIT_RTTIME", "soft": 7, "hard": 8 },
        ] } },
        "grep -E 'core|open files|cpu|msgqueue|realtime timeout' /proc/self/limits | awk '{print $(NF-2), $(NF-1)}'"
        => "77 unlimited\n1 2\n33 44\n5 6\n7 8\n";
}

/// On version 1 of cgroups with a share of the time for them, on version 2 there is none to be given.
#[test]
fn the_scheduler_is_of_real_time() {
    if other_runtime().is_some() {
        return;
    }
    let mut bed = Bed::new();
    if fs::metadata("/sys/fs/cgroup/cpu").is_ok() {
        bed.config["linux"]["resources"]["cpu"] = json!({ "realtimeRuntime": 5000 });
    }
    bed.config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "priority": 9 });
    assert_eq!(bed.shell(POLICY), "9 1\n");
    bed.config["process"]["scheduler"] =
        json!({ "policy": "SCHED_RR", "priority": 3, "flags": ["SCHED_RESET_ON_FORK"] });
    assert_eq!(bed.shell("awk '{print $40, $41}' /proc/$$/stat"), "3 2\n");
}

#[test]
fn all_five_sets_of_capabilities_are_set() {
    let mut bed = Bed::new();
    bed.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    });
    bed.config["process"]["user"] = json!({ "uid": 33, "gid": 44 });
    // Another user's program gets what is ambient, and may get what is bounding.
    let kill = "0000000000000020";
    assert_eq!(
        bed.shell("awk '/^Cap/ {print $2}' /proc/self/status | tr '\\n' ' '"),
        format!("{kill} {kill} {kill} 0000000000040021 {kill} ")
    );
}

#[test]
fn a_capability_that_nobody_knows_is_a_warning() {
    let mut bed = Bed::new();
    for set in ["bounding", "permitted", "effective"] {
        bed.config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_DREAM"]);
    }
    let output = bed.run(&["grep", "CapEff", "/proc/self/status"]);
    // crun 1.8 refuses it.
    if !runtime_is(&["crun"]) {
        assert_eq!(text(&output.stdout), "CapEff:\t0000000000000020\n");
        assert!(text(&output.stderr).contains("CAP_DREAM"), "{}", text(&output.stderr));
    }
}

/// A runtime that has less than is asked for, as in a container of its own.
#[test]
fn a_capability_that_cannot_be_granted_is_a_warning() {
    let mut bed = Bed::new();
    for set in ["bounding", "permitted", "effective"] {
        bed.config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_SYS_TIME"]);
    }
    let script = "grep -E 'CapEff|CapBnd' /proc/self/status";
    bed.config["process"]["args"] = json!(["sh", "-c", script]);
    bed.write_config();
    let run = bed.runtime(&["run", "c"]);
    let mut setpriv = std::process::Command::new("setpriv");
    setpriv.args(["--bounding-set", "-sys_time"]).arg(run.get_program()).args(run.get_args());
    let output = setpriv.current_dir(&bed.dir).stdin(std::process::Stdio::null()).output().unwrap();
    // runc 1.1 and crun 1.8 fail.
    if other_runtime().is_none() {
        let kill = "0000000000000020";
        assert_eq!(text(&output.stdout), format!("CapEff:\t{kill}\nCapBnd:\t{kill}\n"));
        assert_eq!(text(&output.stderr), "hull-runtime: warning: capabilities: not granted: CAP_SYS_TIME\n");
    }
}

/// The deadline policy lets nobody fork, so the program is looked at from outside.
#[test]
fn the_scheduler_is_deadline() {
    if other_runtime().is_some() {
        return;
    }
    let mut bed = Bed::new();
    bed.config["process"]["scheduler"] = json!({
        "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_DL_OVERRUN"],
        "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000,
    });
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "--pid-file", "pid", "one"]);
    let pid = fs::read_to_string(bed.dir.join("pid")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(stat.split(' ').nth(40), Some("6"), "{stat}");
    bed.ok(&["delete", "--force", "one"]);
}

#[test]
fn an_exec_has_the_attributes_of_its_container() {
    if runtime_is(&["runc"]) {
        return;
    }
    let mut bed = Bed::new();
    bed.config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    if other_runtime().is_none() {
        assert_eq!(bed.ok(&["exec", "one", "uname", "-m"]), "i686\n");
    }
    bed.ok(&["delete", "--force", "one"]);
}

/// Before the cgroup, and in it.
#[test]
fn an_exec_has_its_processors() {
    if other_runtime().is_some() {
        return;
    }
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    let allowed = |bed: &Bed, affinity: Value| {
        let mut process = bed.config["process"].clone();
        process["args"] = json!(["grep", "Cpus_allowed_list", "/proc/self/status"]);
        process["execCPUAffinity"] = affinity;
        fs::write(bed.dir.join("process.json"), process.to_string()).unwrap();
        let said = bed.ok(&["exec", "--process", "process.json", "one"]);
        said.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(allowed(&bed, json!({ "final": "0" })), "0");
    assert_eq!(allowed(&bed, json!({ "initial": "0" })), "0");
    let all = allowed(&bed, json!({}));
    assert_eq!(allowed(&bed, json!({ "initial": "0", "final": all })), all);
    bed.ok(&["delete", "--force", "one"]);
}

crate::refuses! {
    a_limit_that_is_given_twice: { "process": { "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 },
        { "type": "RLIMIT_NOFILE", "soft": 2, "hard": 2 }] } } => "limits: RLIMIT_NOFILE is given twice";
    a_limit_that_makes_no_sense: { "process": { "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 2, "hard": 1 }] } } => "limits: setrlimit";
    a_limit_that_nobody_knows: { "process": { "rlimits": [{ "type": "RLIMIT_DREAMS", "soft": 1, "hard": 1 }] } } => "RLIMIT_DREAMS";
    a_relative_directory lacks "crun": { "process": { "cwd": "bin" } } => "cwd: chdir bin";
    no_root: { "root": null } => "root";
    another_version lacks "crun" "runc": { "ociVersion": "2.0.0" } => "spec: ociVersion \"2.0.0\" is not supported";
    a_personality_with_flags lacks "runc" "crun": { "linux": { "personality": { "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] } } } => "personality.flags";
    a_priority_out_of_range lacks "runc" "crun": { "process": { "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 8 } } } => "io priority: ioprio_set 8";
    a_scheduler_that_cannot_be lacks "runc" "crun": { "process": { "scheduler": { "policy": "SCHED_FIFO", "priority": 100 } } } => "scheduler: sched_setattr: invalid argument";
}

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with('Y'))
}

/// Loads a profile by the parser's name for that, or takes it out of the kernel again.
fn apparmor(action: &str, profile: &str) {
    use std::io::Write as _;
    let control = "/sys/kernel/security";
    if fs::read_dir(control).unwrap().next().is_none() {
        let mounted = Command::new("mount").args(["-t", "securityfs", "securityfs", control]).status();
        assert!(mounted.unwrap().success());
    }
    let mut parser = Command::new("/usr/sbin/apparmor_parser");
    let mut parser = parser.args([action, "--skip-cache"]).stdin(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(profile.as_bytes()).unwrap();
    assert!(parser.wait().unwrap().success(), "apparmor_parser {action}");
}

/// Where the kernel has AppArmor, which it does in the virtual machine of the tests.
#[test]
fn a_profile_confines() {
    if !has_apparmor() {
        return;
    }
    let profile =
        "profile hull-test flags=(attach_disconnected) {\n  file,\n  capability,\n  deny /etc/group r,\n}\n";
    apparmor("--replace", profile);
    let mut bed = Bed::new();
    bed.config["process"]["apparmorProfile"] = json!("hull-test");
    assert_eq!(bed.shell("cat /proc/self/attr/current"), "hull-test (enforce)\n");
    assert!(bed.shell("cat /etc/passwd; cat /etc/group 2>&1; true").contains("Permission denied"));
    drop(bed);
    apparmor("--remove", profile);
}

/// A profile and labels, where the kernel has a module for them, and where it has not.
#[test]
fn security_modules_are_there_or_not() {
    if runtime_is(&["crun"]) {
        return;
    }
    let mut bed = Bed::new();
    bed.config["process"]["apparmorProfile"] = json!("unconfined");
    if has_apparmor() {
        assert_eq!(bed.shell("cat /proc/self/attr/current"), "unconfined\n");
        bed.config["process"]["apparmorProfile"] = json!("no-such-profile");
        let said = bed.refusal(&["true"]);
        assert!(said.contains("apparmor profile: change to no-such-profile: no such file"), "{said}");
    } else {
        let said = bed.refusal(&["true"]);
        assert!(said.contains("AppArmor is not enabled") || other_runtime().is_some(), "{said}");
    }
    drop(bed);
    if !fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs") {
        for (section, field) in [("process", "selinuxLabel"), ("linux", "mountLabel")] {
            let mut bed = Bed::new();
            bed.config[section][field] = json!("user:role:type:s0");
            let said = bed.refusal(&["true"]);
            assert!(said.contains("SELinux is not enabled") || other_runtime().is_some(), "{said}");
        }
    }
}

//! What a specification has, by what was asked for.

use hull_oci::runtime::Mount;

use super::*;
use crate::model::{BindOptions, MountKind, MountPoint, MountSpec, fixture};

fn facts() -> Facts<'static> {
    Facts {
        capabilities: &[Capability::Chown, Capability::Kill, Capability::SysAdmin],
        apparmor: false,
        cgroup_v2: true,
        cgroup: "/hull/x",
        ulimits: &[],
        no_new_privileges: false,
        shm_size: 64 << 20,
        devices: Devices::default(),
        throttles: Throttles::default(),
        pid_of: None,
        ipc_of: None,
        users: None,
        init: None,
        processors: 2,
        link_variables: Vec::new(),
    }
}

fn made(change: impl FnOnce(&mut Container)) -> Spec {
    let mut container = fixture();
    change(&mut container);
    of(&container, &facts()).unwrap()
}

fn mount<'a>(spec: &'a Spec, destination: &str) -> &'a Mount {
    let mounts = spec.mounts().as_ref().unwrap();
    mounts.iter().find(|mount| mount.destination() == Path::new(destination)).unwrap()
}

fn options(spec: &Spec, destination: &str) -> Vec<String> {
    mount(spec, destination).options().clone().unwrap()
}

fn env(spec: &Spec) -> Vec<String> {
    spec.process().as_ref().unwrap().env().clone().unwrap()
}

fn namespaces_of(spec: &Spec) -> Vec<LinuxNamespaceType> {
    let linux = spec.linux().as_ref().unwrap();
    linux.namespaces().as_ref().unwrap().iter().map(LinuxNamespace::typ).collect()
}

#[test]
fn a_plain_container_is_closed() {
    let spec = made(|_| {});
    let linux = spec.linux().as_ref().unwrap();
    let masked = linux.masked_paths().as_ref().unwrap();
    assert!(masked.iter().any(|path| path == "/proc/kcore"));
    assert!(linux.readonly_paths().as_ref().unwrap().iter().any(|path| path == "/proc/sys"));
    assert!(options(&spec, "/sys").contains(&"ro".to_owned()));
    assert!(options(&spec, "/dev/shm").contains(&"size=67108864".to_owned()));
    let process = spec.process().as_ref().unwrap();
    let capabilities = process.capabilities().as_ref().unwrap();
    assert!(!capabilities.bounding().as_ref().unwrap().contains(&Capability::SysAdmin));
    assert!(capabilities.inheritable().as_ref().unwrap().is_empty());
    use LinuxNamespaceType::*;
    assert_eq!(namespaces_of(&spec), [Mount, Uts, Ipc, Pid, Network, Cgroup]);
}

#[test]
fn a_privileged_one_is_open() {
    let spec = made(|container| container.host.privileged = true);
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().as_ref().unwrap().is_empty());
    assert!(linux.readonly_paths().as_ref().unwrap().is_empty());
    assert!(options(&spec, "/sys").contains(&"rw".to_owned()));
    let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
    assert!(capabilities.bounding().as_ref().unwrap().contains(&Capability::SysAdmin));
}

#[test]
fn host_modes_leave_namespaces_out() {
    let spec = made(|container| {
        container.host.network_mode = "host".into();
        container.host.pid_mode = "host".into();
        container.host.ipc_mode = "host".into();
        container.host.uts_mode = "host".into();
        container.host.cgroupns_mode = "host".into();
    });
    assert_eq!(namespaces_of(&spec), [LinuxNamespaceType::Mount]);
    assert_eq!(spec.hostname(), &None);
    assert_eq!(mount(&spec, "/dev/shm").typ().as_deref(), Some("bind"));
    assert!(spec.linux().as_ref().unwrap().sysctl().is_none());
}

#[test]
fn the_environment_has_dockers_order() {
    let spec = made(|container| {
        container.config.tty = true;
        container.config.env = ["A=1", "PATH=/bin", "A=2", "TERM"].map(String::from).to_vec();
    });
    assert_eq!(env(&spec), ["PATH=/bin", "HOSTNAME=0123456789ab", "A=2"]);
}

#[test]
fn a_users_mount_replaces_the_kernels() {
    let spec = made(|container| {
        let tmpfs = [("/dev/shm".to_owned(), "size=1m,exec".to_owned())];
        container.host.tmpfs = Some(tmpfs.into_iter().collect());
    });
    let mounts = spec.mounts().as_ref().unwrap();
    let there: Vec<_> = mounts.iter().filter(|mount| mount.destination() == Path::new("/dev/shm")).collect();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].options().as_ref().unwrap(), &["nosuid", "nodev", "size=1m", "exec"]);
}

#[test]
fn binds_are_deep_private_and_sorted() {
    let bind = |destination: &str, rw, non_recursive| MountPoint {
        kind: MountKind::Bind,
        source: "/src".into(),
        destination: destination.into(),
        rw,
        spec: Some(MountSpec {
            bind: Some(BindOptions { non_recursive, ..BindOptions::default() }),
            ..MountSpec::default()
        }),
        ..MountPoint::default()
    };
    let spec = made(|container| {
        container.mounts = vec![bind("/a/b", false, false), bind("/a", true, false), bind("/c", false, true)]
    });
    assert_eq!(options(&spec, "/a"), ["rbind", "rprivate"]);
    assert_eq!(options(&spec, "/a/b"), ["rbind", "rprivate", "rro"]);
    assert_eq!(options(&spec, "/c"), ["bind", "rprivate", "ro"]);
    let mounts = spec.mounts().as_ref().unwrap();
    let place = |at: &str| mounts.iter().position(|mount| mount.destination() == Path::new(at)).unwrap();
    assert!(place("/a") < place("/a/b"));
    // What is the engine's own comes after a volume above it.
    assert!(place("/a") < place("/etc/hosts"));
}

#[test]
fn limits_become_resources() {
    let spec = made(|container| {
        let resources = &mut container.host.resources;
        resources.memory = 64 << 20;
        resources.memory_swap = -1;
        resources.nano_cpus = 1_500_000_000;
        resources.pids_limit = Some(10);
    });
    let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
    let memory = resources.memory().as_ref().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(-1)));
    let cpu = resources.cpu().as_ref().unwrap();
    assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids().as_ref().unwrap().limit(), 10);
    assert!(resources.block_io().is_none());
}

#[test]
fn ulimits_win_over_the_daemons() {
    let limit = |name: &str, soft| Ulimit { name: name.into(), soft, hard: -1 };
    let mut container = fixture();
    container.host.resources.ulimits = Some(vec![limit("nofile", 10)]);
    let defaults = [limit("nofile", 5), limit("core", 0)];
    let spec = of(&container, &Facts { ulimits: &defaults, ..facts() }).unwrap();
    let limits = spec.process().as_ref().unwrap().rlimits().clone().unwrap();
    assert_eq!(limits.iter().map(|limit| limit.soft()).collect::<Vec<_>>(), [10, 0]);
    assert_eq!(limits[0].hard(), u64::MAX);
    container.host.resources.ulimits = Some(vec![limit("frob", 1)]);
    assert!(of(&container, &facts()).is_err());
}

#[test]
fn init_goes_first() {
    let container = fixture();
    let spec = of(&container, &Facts { init: Some(Path::new("/usr/libexec/init")), ..facts() }).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().args().clone().unwrap(), ["/sbin/docker-init", "--", "true"]);
    assert_eq!(mount(&spec, "/sbin/docker-init").source().as_deref(), Some(Path::new("/usr/libexec/init")));
}

#[test]
fn an_exec_session_has_the_containers_environment_and_its_own() {
    let mut container = fixture();
    container.config.env = vec!["A=1".into()];
    let config = crate::model::ExecConfig {
        cmd: vec!["id".into()],
        env: vec!["A=2".into(), "B=3".into()],
        privileged: true,
        ..Default::default()
    };
    let process = exec_process(&container, &config, &facts()).unwrap();
    assert_eq!(process.args().clone().unwrap(), ["id"]);
    assert!(process.env().clone().unwrap().ends_with(&["A=2".to_owned(), "B=3".to_owned()]));
    let bounding = process.capabilities().as_ref().unwrap().bounding().clone().unwrap();
    assert!(bounding.contains(&Capability::SysAdmin));
}

#[test]
fn sysctls_of_the_network_need_a_network_of_ones_own() {
    let mut container = fixture();
    container.host.sysctls = Some([("net.core.somaxconn".to_owned(), "1".to_owned())].into());
    assert!(of(&container, &facts()).is_ok());
    container.host.network_mode = "host".into();
    assert!(of(&container, &facts()).is_err());
}

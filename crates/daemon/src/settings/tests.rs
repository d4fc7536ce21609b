//! Flags and files as people write them.

use super::*;

fn parse(args: &[&str]) -> Result<CommandLine, String> {
    let matches =
        command().try_get_matches_from([&["hulld"], args].concat()).map_err(|why| why.to_string())?;
    resolve(&matches)
}

#[test]
fn what_starts_dockerd_starts_hulld() {
    let line = parse(&[
        "-H",
        "unix:///tmp/a.sock",
        "-H",
        "tcp://127.0.0.1:1",
        "--iptables=false",
        "--live-restore",
        "--storage-driver",
        "overlay2",
        "-D",
        "--log-opt",
        "max-size=1m",
        "--default-address-pool",
        "base=10.10.0.0/16,size=24",
    ])
    .expect("these are dockerd's flags");
    assert_eq!(line.settings.hosts.len(), 2);
    assert!(line.settings.debug);
    assert_eq!(line.settings.default_address_pools[0].size, 24);
    assert_eq!(line.settings.log_opts["max-size"], "1m");
    assert_eq!(line.warnings.len(), 2);
}

#[test]
fn protection_that_is_not_there_is_refused() {
    let refused = parse(&["--authorization-plugin", "x"]).err().expect("not supported");
    assert!(refused.contains("--authorization-plugin is not supported yet"), "{refused}");
    assert!(parse(&["--selinux-enabled=false"]).is_ok(), "nothing is promised");
}

#[test]
fn tls_wants_certificates_of_clients_unless_somebody_says_no() {
    let asks = |args: &[&str]| {
        let settings = parse(args).expect("right").settings;
        (settings.tls, settings.verifies_clients())
    };
    assert_eq!(asks(&[]), (false, false));
    assert_eq!(asks(&["--tls"]), (true, true));
    assert_eq!(asks(&["--tls=false"]), (false, false));
    assert_eq!(asks(&["--tlsverify"]), (true, true));
    assert_eq!(asks(&["--tlsverify=false"]), (true, false));
    assert_eq!(asks(&["--tls", "--tlsverify=false"]), (true, false));
    assert_eq!(parse(&["--tls"]).expect("right").settings.hosts, ["tcp://localhost:2376"]);
}

#[test]
fn containers_run_on_unless_that_is_switched_off() {
    let lives = |args: &[&str]| parse(args).expect("right").settings.live_restore();
    assert!(lives(&[]) && lives(&["--live-restore"]));
    assert!(!lives(&["--live-restore=false"]));
}

#[test]
fn devices_are_looked_for_where_somebody_says_or_nowhere() {
    let where_to = |args: &[&str]| parse(args).expect("right").settings.cdi_directories();
    let paths = |paths: &[&str]| Some(paths.iter().map(PathBuf::from).collect::<Vec<_>>());
    assert_eq!(where_to(&[]), None);
    assert_eq!(where_to(&["--cdi-spec-dir=/a", "--cdi-spec-dir", "/b"]), paths(&["/a", "/b"]));
    assert_eq!(where_to(&["--cdi-spec-dir="]), paths(&[]));
    assert_eq!(where_to(&["--feature", "cdi=false", "--cdi-spec-dir=/a"]), paths(&[]));
}

#[test]
fn a_key_is_given_once_and_known() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("daemon.json");
    let config = path.to_str().expect("utf-8");
    std::fs::write(&path, r#"{"debug": true, "data-root": "/x"}"#).expect("write");
    assert_eq!(
        parse(&["--config-file", config]).expect("right").settings.data_root,
        Some(PathBuf::from("/x"))
    );
    let twice = parse(&["--config-file", config, "--data-root", "/y"]).err().expect("twice");
    assert!(twice.contains("specified both as a flag and in the configuration file: data-root: (from flag: /y, from file: /x)"), "{twice}");
    let refused = |text: &str| {
        std::fs::write(&path, text).expect("write");
        parse(&["--config-file", config]).err().expect("refused")
    };
    let unknown = refused(r#"{"no-such-key": 1, "debug": true}"#);
    let prefix = format!("unable to configure the Docker daemon with file {config}: ");
    let why = "the following directives don't match any configuration option: no-such-key";
    assert_eq!(unknown, format!("{prefix}{why}"));
    assert_eq!(refused("{"), format!("{prefix}invalid JSON: unexpected end of JSON input"));
    assert!(refused(r#"{"debug": "x"}"#).starts_with(&format!("{prefix}invalid JSON: ")));
    for (mirror, why) in [
        ("x", "no scheme specified for \"x\": must use either 'https://' or 'http://'"),
        ("ftp://x", "unsupported scheme \"ftp\" in \"ftp://x\": must use either 'https://' or 'http://'"),
        ("http://x?a=b", "query or fragment at end of the URI \"http://x?a=b\""),
        ("https://u:p@x/y", "username/password not allowed in URI \"https://u:xxxxx@x/y\""),
    ] {
        let said = refused(&format!(r#"{{"registry-mirrors": ["{mirror}"]}}"#));
        assert!(said.ends_with(&format!("failed: invalid mirror: {why}")), "{said}");
    }
    assert!(refused(r#"{"dns-search": ["-x"]}"#).ends_with("failed: -x is not a valid domain"));
    assert!(refused(r#"{"default-shm-size": "x"}"#).ends_with("invalid size: 'x'"));
    assert!(refused(r#"{"ip": "x"}"#).ends_with("invalid ip: x"));
    assert!(refused(r#"{"log-level": "loud"}"#).ends_with("failed: invalid logging level: loud"));
    assert!(refused(r#"{"labels": ["a=1", "a=2"]}"#).ends_with("conflict labels for a=2 and a=1"));
    assert!(refused(r#"{"max-concurrent-downloads": -1}"#).ends_with("invalid max concurrent downloads: -1"));
    assert!(refused(r#"{"selinux-enabled": true}"#).contains("selinux-enabled is not supported yet"));
    assert!(refused(r#"{"tlsverify": "maybe"}"#).starts_with(&prefix));
    assert!(parse(&["--config-file", "/nonexistent/daemon.json"]).is_err());
}

#[test]
fn every_key_of_dockerd_is_known() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("daemon.json");
    let config = path.to_str().expect("utf-8");
    let everything = r#"{
        "allow-direct-routing": false, "authorization-plugins": [], "bip": "", "bip6": "", "bridge": "",
        "builder": {"gc": {"enabled": true}}, "cdi-spec-dirs": ["/etc/cdi"], "cgroup-parent": "",
        "containerd": "/run/containerd.sock", "containerd-namespace": "docker",
        "containerd-plugins-namespace": "docker-plugins", "data-root": "/d", "debug": false,
        "default-address-pools": [{"base": "172.30.0.0/16", "size": 24}], "default-cgroupns-mode": "private",
        "default-gateway": "", "default-gateway-v6": "", "default-network-opts": {"overlay": {}},
        "default-runtime": "runc", "default-shm-size": "64M",
        "default-ulimits": {"nofile": {"Hard": 64000, "Name": "nofile", "Soft": 64000}}, "dns": [], "dns-opts": [],
        "dns-search": [], "exec-opts": [], "exec-root": "/e", "experimental": true,
        "features": {"cdi": true, "containerd-snapshotter": true}, "firewall-backend": "", "fixed-cidr": "",
        "fixed-cidr-v6": "", "group": "", "host-gateway-ip": "", "hosts": [], "proxies":
        {"http-proxy": "http://proxy:80", "https-proxy": "https://proxy:443", "no-proxy": "*.test"},
        "icc": false, "init": false, "init-path": "/usr/libexec/docker-init", "insecure-registries": [],
        "ip": "0.0.0.0", "ip-forward": false, "ip-masq": false, "iptables": false, "ip6tables": false,
        "ipv6": false, "labels": [], "live-restore": true, "log-driver": "json-file", "log-format": "text",
        "log-level": "", "log-opts": {"max-size": "10m"}, "max-concurrent-downloads": 3,
        "max-concurrent-uploads": 5, "max-download-attempts": 5, "metrics-addr": "", "mtu": 0,
        "network-control-plane-mtu": 1500, "no-new-privileges": false, "node-generic-resources": ["a=b"],
        "pidfile": "", "raw-logs": false, "registry-mirrors": [], "resolv-conf": "/x",
        "runtimes": {"other": {"path": "/usr/bin/other"}}, "seccomp-profile": "", "selinux-enabled": false,
        "shutdown-timeout": 15, "storage-driver": "", "storage-opts": [], "swarm-default-advertise-addr": "",
        "tls": true, "tlscacert": "", "tlscert": "", "tlskey": "", "tlsverify": true, "userland-proxy": false,
        "userland-proxy-path": "/usr/libexec/docker-proxy", "userns-remap": ""}"#;
    std::fs::write(&path, everything.replace(r#""log-level": "", "#, "")).expect("write");
    let line = parse(&["--config-file", config]).expect("all of them are known");
    assert!(line.settings.verifies_clients() && line.settings.features["cdi"]);
    assert!(line.settings.experimental);
    assert_eq!(line.settings.icc, Some(false));
    assert!(
        line.warnings.iter().any(|warning| warning.starts_with("network-control-plane-mtu has no effect"))
    );
    assert_eq!(line.settings.http_proxy.as_deref(), Some("http://proxy:80"));
    assert!(!line.warnings.iter().any(|warning| warning.starts_with("ipv6 ")), "{:?}", line.warnings);
}

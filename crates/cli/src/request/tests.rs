//! From flags to requests.

use super::*;
use clap::{Args as _, FromArgMatches as _};
use hull_api::wire::StrSlice;

fn request(words: &[&str]) -> Result<ContainerCreateRequest, String> {
    let command =
        ContainerFlags::augment_args(clap::Command::new("run").no_binary_name(true).disable_help_flag(true));
    let matches = command.try_get_matches_from(words).map_err(|reason| reason.to_string())?;
    let flags = ContainerFlags::from_arg_matches(&matches).map_err(|reason| reason.to_string())?;
    flags.request("busybox", &["sh".to_owned()])
}

#[test]
fn without_flags_everything_is_the_default() {
    let request = request(&[]).unwrap();
    assert_eq!(request.config.image, "busybox");
    assert_eq!(request.config.cmd, Some(StrSlice(vec!["sh".to_owned()])));
    assert_eq!(request.config.entrypoint, None);
    assert!(request.config.attach_stdout && !request.config.attach_stdin && !request.config.open_stdin);
    assert_eq!(request.host_config.network_mode, "default");
    assert_eq!(request.host_config.restart_policy.name, "no");
    assert_eq!(request.host_config.pids_limit, None);
    assert!(request.networking_config.endpoints_config.is_empty());
}

#[test]
fn flags_become_fields() {
    let words = [
        "-it",
        "-e",
        "A=1",
        "-m",
        "64m",
        "--cpus",
        "1.5",
        "--pids-limit",
        "9",
        "-p",
        "8080:80",
        "-v",
        "/a:/b",
        "-v",
        "/c",
        "--tmpfs",
        "/t",
        "--cap-add",
        "NET_ADMIN",
        "--hostname",
        "web",
        "-u",
        "1:2",
        "--init",
        "--ulimit",
        "nofile=1:2",
        "--entrypoint",
        "",
        "--label",
        "k=v",
        "--read-only",
        "--network",
        "host",
    ];
    let words: Vec<&str> = words.to_vec();
    let request = request(&words).unwrap();
    assert!(request.config.tty && request.config.open_stdin && request.config.stdin_once);
    assert_eq!(request.config.env, Some(vec!["A=1".to_owned()]));
    assert_eq!(request.config.entrypoint, Some(StrSlice(vec![String::new()])));
    assert!(request.config.exposed_ports.contains_key("80/tcp"));
    assert!(request.config.volumes.unwrap().contains_key("/c"));
    let host = request.host_config;
    assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (64 << 20, 1_500_000_000, Some(9)));
    assert_eq!(host.binds, Some(vec!["/a:/b".to_owned()]));
    assert_eq!(host.port_bindings["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
    assert_eq!(host.init, Some(true));
    assert_eq!(host.network_mode, "host");
}

#[test]
fn attached_streams_are_chosen_one_by_one() {
    let request = request(&["-a", "STDOUT", "-i"]).unwrap();
    let config = request.config;
    assert!(config.attach_stdout && !config.attach_stderr && !config.attach_stdin);
    assert!(config.open_stdin && !config.stdin_once);
}

#[test]
fn addresses_are_of_the_first_network() {
    let request = request(&["--network", "web", "--ip", "10.0.0.2", "--network-alias", "db"]).unwrap();
    let endpoint = request.networking_config.endpoints_config["web"].clone().unwrap();
    assert_eq!(endpoint.ipam_config.unwrap().ipv4_address, "10.0.0.2");
    assert_eq!(endpoint.aliases, Some(vec!["db".to_owned()]));
}

#[test]
fn health_is_asked_for_or_refused() {
    let health =
        request(&["--health-cmd", "true", "--health-interval", "5s"]).unwrap().config.healthcheck.unwrap();
    assert_eq!(health.test, ["CMD-SHELL", "true"]);
    assert_eq!(health.interval, 5_000_000_000);
    let none = request(&["--no-healthcheck"]).unwrap().config.healthcheck.unwrap();
    assert_eq!(none.test, ["NONE"]);
    assert!(request(&["--no-healthcheck", "--health-cmd", "x"]).is_err());
}

#[test]
fn what_cannot_be_is_refused() {
    for words in [
        &["--rm", "--restart", "always"][..],
        &["-m", "abc"],
        &["-p", "99999:80"],
        &["--add-host", "x"],
        &["-a", "stdlog"],
        &["--log-opt", "x"],
        &["--ip", "nowhere"],
    ] {
        assert!(request(words).is_err(), "{words:?}");
    }
}

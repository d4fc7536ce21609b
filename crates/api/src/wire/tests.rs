//! The types against literal JSON of the shape that Docker 28 answers with: reading it and writing it again must
//! give the same document, nulls, empties and absences included.

use super::container::{
    ContainerConfig, ContainerCreateRequest, ContainerInspect, ContainerSummary, WaitResponse,
};
use super::events::Event;
use super::exec::ExecInspect;
use super::image::{ImageDeleteItem, ImageInspect, ImageSummary};
use super::network::Network;
use super::progress::Message;
use super::stats::Stats;
use super::system::{AuthConfig, Info, Version};
use super::volume::Volume;
use super::*;
use serde_json::{Value, json};

/// Reads a document and writes it again.
fn again<T: Serialize + serde::de::DeserializeOwned>(document: &Value) -> Value {
    let read: T = serde_json::from_value(document.clone()).unwrap();
    serde_json::to_value(&read).unwrap()
}

#[test]
fn container_inspect() {
    let document: Value = serde_json::from_str(include_str!("tests/container-inspect.json")).unwrap();
    assert_eq!(again::<ContainerInspect>(&document), document);
}

#[test]
fn container_inspect_keeps_dockers_order() {
    let text = include_str!("tests/container-inspect.json");
    let read: ContainerInspect = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&read).unwrap(), text.trim_end());
}

#[test]
fn image_inspect() {
    let document: Value = serde_json::from_str(include_str!("tests/image-inspect.json")).unwrap();
    assert_eq!(again::<ImageInspect>(&document), document);
}

#[test]
fn information() {
    let document: Value = serde_json::from_str(include_str!("tests/info.json")).unwrap();
    assert_eq!(again::<Info>(&document), document);
}

#[test]
fn lists_and_small_answers() {
    let summary = json!({
        "Id": "8dfa", "Names": ["/web"], "Image": "busybox", "ImageID": "sha256:7", "Command": "sh", "Created": 1,
        "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                  {"PrivatePort": 443, "Type": "tcp"}],
        "Labels": {}, "State": "running", "Status": "Up 2 minutes",
        "HostConfig": {"NetworkMode": "bridge"}, "NetworkSettings": {"Networks": {}}, "Mounts": []
    });
    assert_eq!(again::<ContainerSummary>(&summary), summary);
    let image = json!({
        "Containers": -1, "Created": 1, "Id": "sha256:7", "Labels": null, "ParentId": "",
        "RepoDigests": [], "RepoTags": ["busybox:latest"], "SharedSize": -1, "Size": 4
    });
    assert_eq!(again::<ImageSummary>(&image), image);
    let event = json!({
        "status": "start", "id": "8dfa", "from": "busybox", "Type": "container", "Action": "start",
        "Actor": {"ID": "8dfa", "Attributes": {"image": "busybox", "name": "web"}},
        "scope": "local", "time": 1, "timeNano": 1_000_000_001
    });
    assert_eq!(again::<Event>(&event), event);
    for removed in [json!({"Untagged": "busybox:latest"}), json!({"Deleted": "sha256:7"})] {
        assert_eq!(again::<ImageDeleteItem>(&removed), removed);
    }
    assert_eq!(again::<WaitResponse>(&json!({"StatusCode": 137})), json!({"StatusCode": 137}));
    let volume = json!({
        "CreatedAt": "2025-01-01T00:00:00Z", "Driver": "local", "Labels": null,
        "Mountpoint": "/v/_data", "Name": "v", "Options": null, "Scope": "local"
    });
    assert_eq!(again::<Volume>(&volume), volume);
}

#[test]
fn execs_networks_and_versions() {
    let exec = json!({
        "ID": "e", "Running": true, "ExitCode": null,
        "ProcessConfig": {"tty": false, "entrypoint": "sh", "arguments": ["-c", "x"], "privileged": false},
        "OpenStdin": false, "OpenStderr": true, "OpenStdout": true, "CanRemove": false,
        "ContainerID": "8dfa", "DetachKeys": "", "Pid": 7
    });
    assert_eq!(again::<ExecInspect>(&exec), exec);
    let network = json!({
        "Name": "bridge", "Id": "n", "Created": "2025-01-01T00:00:00Z", "Scope": "local", "Driver": "bridge",
        "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]},
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": {"8dfa": {"Name": "web", "EndpointID": "e", "MacAddress": "02:42:ac:11:00:02",
                                "IPv4Address": "172.17.0.2/16", "IPv6Address": ""}},
        "Options": {"com.docker.network.bridge.name": "docker0"}, "Labels": {}
    });
    assert_eq!(again::<Network>(&network), network);
    let version = json!({
        "Platform": {"Name": "Docker Engine - Community"},
        "Components": [{"Name": "Engine", "Version": "28.2.2", "Details": {"ApiVersion": "1.50"}}],
        "Version": "28.2.2", "ApiVersion": "1.50", "MinAPIVersion": "1.24", "GitCommit": "45873be",
        "GoVersion": "go1.24.3", "Os": "linux", "Arch": "amd64", "KernelVersion": "6.1.0",
        "BuildTime": "2025-05-30T12:00:00.000000000+00:00"
    });
    assert_eq!(again::<Version>(&version), version);
}

#[test]
fn progress_and_its_failure() {
    let progress = json!({
        "status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "progress": "[=>  ]", "id": "9ad6"
    });
    assert_eq!(again::<Message>(&progress), progress);
    let end = json!({"status": "Download complete", "progressDetail": {}, "id": "9ad6"});
    assert_eq!(again::<Message>(&end), end);
    let failure = serde_json::to_value(Message::failure("manifest unknown")).unwrap();
    assert_eq!(failure, json!({"errorDetail": {"message": "manifest unknown"}, "error": "manifest unknown"}));
}

#[test]
fn statistics() {
    let mut document = serde_json::to_value(Stats::default()).unwrap();
    document["cpu_stats"]["online_cpus"] = json!(2);
    document["memory_stats"] = json!({"usage": 4096, "limit": 8192, "stats": {"cache": 1}});
    document["networks"] = json!({"eth0": {
        "rx_bytes": 1, "rx_packets": 1, "rx_errors": 0, "rx_dropped": 0,
        "tx_bytes": 2, "tx_packets": 1, "tx_errors": 0, "tx_dropped": 0
    }});
    assert_eq!(again::<Stats>(&document), document);
    assert_eq!(document["cpu_stats"].get("system_cpu_usage"), None);
}

#[test]
fn a_request_may_leave_out_null_and_add() {
    let request: ContainerCreateRequest = serde_json::from_value(json!({
        "Image": "busybox", "Cmd": "sh", "Entrypoint": ["a", "b"], "Env": null, "Labels": null,
        "Hostname": null, "ExposedPorts": {"80/tcp": {}, "81/tcp": null}, "Novelty": {"x": 1},
        "HostConfig": {"Memory": 4096, "PortBindings": {"80/tcp": [{"HostPort": "80"}], "81/tcp": null},
                       "RestartPolicy": null, "LogConfig": {"Type": "none"}},
        "NetworkingConfig": null
    }))
    .unwrap();
    assert_eq!(request.config.cmd, Some(StrSlice(vec!["sh".to_owned()])));
    assert_eq!(request.config.env, None);
    assert_eq!(request.config.exposed_ports.len(), 2);
    assert_eq!(request.host_config.memory, 4096);
    assert_eq!(request.host_config.port_bindings["81/tcp"], None);
    assert_eq!(request.host_config.log_config.kind, "none");
    assert!(request.networking_config.endpoints_config.is_empty());
}

#[test]
fn a_wrong_type_is_an_error() {
    for request in [json!({"Image": 1}), json!({"HostConfig": {"Memory": "1g"}}), json!({"Cmd": {"a": 1}})] {
        assert!(serde_json::from_value::<ContainerCreateRequest>(request.clone()).is_err(), "{request}");
    }
}

#[test]
fn an_empty_configuration_leaves_out_what_docker_leaves_out() {
    let written = serde_json::to_value(ContainerConfig::default()).unwrap();
    for absent in ["ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout", "Shell", "MacAddress"] {
        assert_eq!(written.get(absent), None, "{absent}");
    }
    for null in ["Env", "Cmd", "Entrypoint", "Volumes", "OnBuild"] {
        assert_eq!(written.get(null), Some(&Value::Null), "{null}");
    }
    assert_eq!(written["Labels"], json!({}));
}

#[test]
fn credentials_travel_in_a_header_and_stay_out_of_debug_output() {
    let auth =
        AuthConfig { username: "u".to_owned(), password: "se/cret?>".to_owned(), ..AuthConfig::default() };
    let header = auth.to_header();
    assert_eq!(AuthConfig::from_header(&header).unwrap(), auth);
    assert_eq!(AuthConfig::from_header(header.trim_end_matches('=')).unwrap(), auth);
    assert_eq!(AuthConfig::from_header("").unwrap(), AuthConfig::default());
    assert!(AuthConfig::from_header("!").is_err());
    assert!(!format!("{auth:?}").contains("cret"));
}

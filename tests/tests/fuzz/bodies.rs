//! Bodies: our own types, with fields changed.

use std::collections::BTreeMap;

use hull_api::wire::container::{ContainerConfig, ContainerCreateRequest};
use hull_api::wire::exec::{ExecCreateRequest, ExecStartRequest};
use hull_api::wire::host::UpdateRequest;
use hull_api::wire::network::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use hull_api::wire::system::AuthConfig;
use hull_api::wire::volume::VolumeCreateRequest;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Route;
use crate::values::{Dice, NUMBERS, WORDS};

/// Fields of bodies that a type leaves out when they are empty, with a value that is right.
fn more_fields() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("Healthcheck", json!({"Test": ["CMD", "true"], "Interval": 1_000_000_000})),
        ("ExposedPorts", json!({"80/tcp": {}})),
        ("PortBindings", json!({"80/tcp": [{"HostPort": "18099"}]})),
        ("Mounts", json!([{"Type": "tmpfs", "Target": "/t"}])),
        ("Tmpfs", json!({"/t": "size=1m"})),
        ("NetworkMode", json!("none")),
        ("RestartPolicy", json!({"Name": "no"})),
        ("LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}})),
        ("Ulimits", json!([{"Name": "nofile", "Soft": 64, "Hard": 64}])),
        ("StopTimeout", json!(1)),
        ("IPAM", json!({"Config": [{"Subnet": "10.99.0.0/24"}]})),
        ("EndpointConfig", json!({"Aliases": ["x"]})),
        ("ConsoleSize", json!([24, 80])),
        ("Memory", json!(16_777_216)),
        ("PidsLimit", json!(50)),
        ("DriverOpts", json!({"type": "tmpfs"})),
        ("Labels", json!({"a": "b"})),
    ])
}

/// Fields that reach the host, however well a container is kept.
const NOT_FOR_FUZZING: &[&str] = &[
    "CgroupParent",
    "Binds",
    "Sysctls",
    "Devices",
    "Privileged",
    "PidMode",
    "IpcMode",
    "UTSMode",
    "UsernsMode",
    "NetworkMode",
    "RestartPolicy",
    "ContainerIDFile",
    "Driver",
    "Runtime",
    "Image",
    "Cmd",
    "Entrypoint",
    "AutoRemove",
];

/// Some value of a JSON type: nothing is expected of it.
fn anything(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth > 2 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(dice.one_in(2)),
        2 | 3 => json!(dice.pick(NUMBERS)),
        4 => json!(dice.pick(WORDS)),
        5 => json!(1.5e300),
        6 => json!([anything(dice, depth + 1), anything(dice, depth + 1)]),
        _ => json!({ dice.pick(WORDS): anything(dice, depth + 1) }),
    }
}

/// Changes some fields of a body, in any depth.
fn change(dice: &mut Dice, body: &mut Value) {
    match body {
        Value::Object(fields) if !fields.is_empty() && !dice.one_in(8) => {
            let keys: Vec<String> =
                fields.keys().filter(|key| !NOT_FOR_FUZZING.contains(&key.as_str())).cloned().collect();
            if let Some(field) = keys.get(dice.below(keys.len().max(1))).and_then(|key| fields.get_mut(key)) {
                change(dice, field);
            }
        }
        Value::Number(_) => *body = json!(dice.pick(NUMBERS)),
        Value::String(_) if !dice.one_in(3) => *body = json!(dice.pick(WORDS)),
        Value::Bool(is) if !dice.one_in(3) => *body = json!(!*is),
        Value::Array(items) if !dice.one_in(3) => items.push(json!(dice.pick(WORDS))),
        Value::Null if !dice.one_in(3) => *body = json!([dice.pick(WORDS)]),
        other => *other = anything(dice, 0),
    }
}

/// The body of a request to this route.
pub(crate) fn body(dice: &mut Dice, route: &Route) -> Vec<u8> {
    fn of<T: Serialize + Default>() -> Value {
        serde_json::to_value(T::default()).unwrap()
    }
    if !["POST", "PUT"].contains(&route.method.as_str()) {
        return Vec::new();
    }
    let mut body = match route.path.as_str() {
        "/containers/create" => {
            let mut body = of::<ContainerCreateRequest>();
            body["Image"] = json!(if dice.one_in(9) { dice.pick(WORDS) } else { "busybox" });
            body["Cmd"] =
                dice.pick(&[r#"["true"]"#, r#"["sleep","1000"]"#, r#"["nosuch"]"#]).parse().unwrap();
            body["HostConfig"]["NetworkMode"] = json!(dice.pick(&["none", "bridge", "net", "container:run"]));
            body
        }
        path if path.ends_with("/exec") => {
            let mut body = of::<ExecCreateRequest>();
            body["Cmd"] = json!(["true"]);
            body
        }
        path if path.starts_with("/exec") => of::<ExecStartRequest>(),
        path if path.ends_with("/update") => of::<UpdateRequest>(),
        "/commit" => of::<ContainerConfig>(),
        "/networks/create" => {
            let mut body = of::<NetworkCreateRequest>();
            body["Name"] = json!(dice.pick(&["net", "other", ""]));
            body
        }
        path if path.ends_with("/connect") => of::<NetworkConnectRequest>(),
        path if path.ends_with("/disconnect") => of::<NetworkDisconnectRequest>(),
        "/volumes/create" => of::<VolumeCreateRequest>(),
        "/auth" => of::<AuthConfig>(),
        _ => json!({}),
    };
    if body.get("Container").is_some() {
        body["Container"] = json!(dice.pick(&["box", "run", "nosuch", ""]));
    }
    let (name, value) = more_fields().into_iter().nth(dice.below(17)).unwrap();
    let place =
        if body.get("HostConfig").is_some() && dice.one_in(2) { &mut body["HostConfig"] } else { &mut body };
    if dice.one_in(2) && !place.is_null() {
        place[name] = value;
    }
    for _ in 0..dice.below(4) {
        change(dice, &mut body);
    }
    let mut bytes = body.to_string().into_bytes();
    match dice.below(12) {
        0 => bytes.truncate(dice.below(bytes.len().max(1))),
        1 => bytes.clear(),
        2 => bytes.extend_from_slice(b" {}"),
        _ => {}
    }
    bytes
}

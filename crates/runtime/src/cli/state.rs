//! `state`: the state of a container as the runtime specification prints it.

use std::process::ExitCode;

use lexopt::Parser;
use serde_json::{Value, json};

use super::container::{Container, Record};
use super::error::Result;
use super::{Global, SPEC_VERSION, only_id, print};

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let container = Container::open(&global.root, &only_id(parser)?)?;
    let record = container.load()?;
    print(&format!("{:#}\n", describe(&container, &record)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The state, with what runc adds to it.
pub(super) fn describe(container: &Container, record: &Record) -> Result<Value> {
    let status = status(container, record)?;
    let pid = if status == "stopped" { 0 } else { record.pid };
    let mut state = json!({
        "ociVersion": SPEC_VERSION,
        "id": record.id,
        "pid": pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": "",
    });
    if !record.annotations.is_empty() {
        state["annotations"] = json!(record.annotations);
    }
    Ok(state)
}

fn status(container: &Container, record: &Record) -> Result<String> {
    let status = container.status(record).to_string();
    let frozen =
        status == "running" && record.cgroup()?.map(|cgroup| cgroup.frozen()).transpose()?.unwrap_or(false);
    Ok(if frozen { "paused".to_owned() } else { status })
}

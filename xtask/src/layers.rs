//! The arrows between the crates, checked: each crate names only crates below it, the kernel half has no async
//! runtime, and the two runtime binaries link no C library.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{Outcome, say};

/// Each crate and the crates of ours that it may use. The order is the order of the house, lowest first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hull-sys", &[]),
    ("hull-oci", &[]),
    ("hull-cgroup", &["hull-sys", "hull-oci"]),
    ("hull-runtime", &["hull-sys", "hull-oci", "hull-cgroup"]),
    ("hull-shim", &["hull-sys", "hull-oci", "hull-cgroup", "hull-runtime"]),
    ("hull-snapshot", &["hull-sys", "hull-oci"]),
    ("hull-image", &["hull-oci", "hull-snapshot"]),
    ("hull-network", &["hull-sys", "hull-oci"]),
    ("hull-plugin", &[]),
    (
        "hull-engine",
        &[
            "hull-sys",
            "hull-oci",
            "hull-cgroup",
            "hull-runtime",
            "hull-shim",
            "hull-snapshot",
            "hull-image",
            "hull-network",
            "hull-plugin",
        ],
    ),
    ("hull-api", &["hull-oci"]),
    ("hulld", &["hull-sys", "hull-api", "hull-engine", "hull-image", "hull-network", "hull-oci"]),
    ("hull", &["hull-api", "hull-oci"]),
];

/// The half that clones: one thread, no async runtime.
const KERNEL_HALF: &[&str] =
    &["hull-sys", "hull-oci", "hull-cgroup", "hull-runtime", "hull-shim", "hull-snapshot"];

/// The binaries that start every container: no C library, nothing but Rust and the kernel.
const NO_C: &[&str] = &["hull-runtime", "hull-shim"];

/// Checks all three rules and says which arrow breaks one.
pub(crate) fn check() -> Outcome {
    let mut broken = arrows(&metadata()?)?;
    for krate in KERNEL_HALF {
        broken.extend(forbidden(krate, &["tokio", "hyper"])?);
    }
    for krate in NO_C {
        broken.extend(forbidden(krate, &["cc", "cmake", "bindgen", "pkg-config"])?);
    }
    if broken.is_empty() {
        say(format!("layers: {} crates, every arrow points down", ALLOWED.len()));
        return Ok(());
    }
    Err(broken.join("\n"))
}

fn metadata() -> Result<Value, String> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"])?;
    serde_json::from_str(&text).map_err(|why| format!("cargo metadata: {why}"))
}

fn arrows(metadata: &Value) -> Result<Vec<String>, String> {
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let directory = package["manifest_path"].as_str().unwrap_or_default();
        if !directory.contains("/crates/") {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(krate, _)| *krate == name) else {
            return Err(format!("layers: {name} has no row in xtask/src/layers.rs"));
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"].as_str() == Some("dev");
            if used.starts_with("hull") && !in_tests && !allowed.contains(&used) {
                broken.push(format!("layers: {name} must not use {used}"));
            }
        }
    }
    Ok(broken)
}

/// The packages of `names` that `krate` is built with.
fn forbidden(krate: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let tree = cargo(&["tree", "--package", krate, "--edges", "normal,build", "--prefix", "none"])?;
    let used: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    Ok(names
        .iter()
        .filter(|name| used.contains(**name))
        .map(|name| format!("layers: {krate} is built with {name}"))
        .collect())
}

fn cargo(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .output()
        .map_err(|why| format!("cargo {}: {why}", args.join(" ")))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

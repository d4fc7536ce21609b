//! Reading `config.json`: what a newer specification or kernel names and nobody here knows is left out with a warning,
//! where the specification says so.

use hull_oci::runtime::{Arch, Capability, Process, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The five sets of capabilities(7).
const SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// A scheduler flag, and how the library that reads it spells it.
const OVERRUN: (&str, &str) = ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN");

/// Something read, and what was left out of it.
#[derive(Debug)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// What was left out, in words.
    pub warnings: Vec<String>,
}

/// Reads a spec.
pub fn parse_spec(json: &[u8]) -> serde_json::Result<Read<Spec>> {
    parse(json, |config, warnings| {
        clean_process(&mut config["process"], warnings);
        clean_architectures(&mut config["linux"]["seccomp"], warnings);
    })
}

/// Reads the process of an `exec`.
pub fn parse_process(json: &[u8]) -> serde_json::Result<Read<Process>> {
    parse(json, clean_process)
}

/// Nearly always all is known, and nothing is looked at twice.
fn parse<T: DeserializeOwned>(
    json: &[u8],
    clean: impl Fn(&mut Value, &mut Vec<String>),
) -> serde_json::Result<Read<T>> {
    let first = match serde_json::from_slice(json) {
        Ok(value) => return Ok(Read { value, warnings: Vec::new() }),
        Err(error) => error,
    };
    let Ok(mut config) = serde_json::from_slice::<Value>(json) else { return Err(first) };
    if !config.is_object() {
        return Err(first);
    }
    let mut warnings = Vec::new();
    clean(&mut config, &mut warnings);
    // By the same code as before; the first error names the place in the file.
    let cleaned = serde_json::to_vec(&config)?;
    serde_json::from_slice(&cleaned).map(|value| Read { value, warnings }).map_err(|_| first)
}

fn clean_process(process: &mut Value, warnings: &mut Vec<String>) {
    for set in SETS {
        let Some(names) = process.pointer_mut(&format!("/capabilities/{set}")) else { continue };
        retain(names, |name| {
            let known = Capability::deserialize(name).is_ok();
            let warning = format!("capability {name} is not known");
            if !known && !warnings.contains(&warning) {
                warnings.push(warning);
            }
            known
        });
    }
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten().filter(|flag| **flag == OVERRUN.0) {
        *flag = Value::from(OVERRUN.1);
    }
}

fn clean_architectures(seccomp: &mut Value, warnings: &mut Vec<String>) {
    let Some(names) = seccomp.get_mut("architectures") else { return };
    retain(names, |name| {
        let known = Arch::deserialize(name).is_ok();
        if !known {
            warnings.push(format!("architecture {name} is not known"));
        }
        known
    });
}

fn retain(list: &mut Value, keep: impl FnMut(&Value) -> bool) {
    if let Some(list) = list.as_array_mut() {
        list.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_unknown_is_left_out_with_a_warning() {
        let spec = json!({
            "ociVersion": "1.2.0",
            "process": {
                "cwd": "/", "args": ["true"], "user": { "uid": 0, "gid": 0 },
                "capabilities": { "bounding": ["CAP_KILL", "CAP_NEW"], "ambient": ["CAP_NEW"] },
                "scheduler": { "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_DL_OVERRUN"] },
            },
            "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NEW", "SCMP_ARCH_X86"] } },
        });
        let read = parse_spec(spec.to_string().as_bytes()).unwrap();
        assert_eq!(
            read.warnings,
            [r#"capability "CAP_NEW" is not known"#, r#"architecture "SCMP_ARCH_NEW" is not known"#]
        );
        let process = read.value.process().as_ref().unwrap();
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 1);
        assert!(parse_spec(b"{").is_err());
        assert!(parse_spec(br#"{ "process": 1 }"#).is_err());
    }
}

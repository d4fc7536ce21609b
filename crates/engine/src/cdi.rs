//! Devices by the names that their vendors give them: the Container Device Interface, and `--gpus` by it.
//!
//! A specification is a file of JSON or YAML in one of the daemon's directories. It is read when somebody asks: vendors
//! write it anew when devices come and go. Of two devices of one name the one in the later directory counts; within
//! a directory neither does. Source: github.com/cncf-tags/container-device-interface, SPEC.md 1.0.

mod apply;
mod gpu;
mod nvidia;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_oci::runtime::Spec;
use serde::Deserialize;

use crate::model::DeviceRequest;
use crate::{Engine, Error, Result};

/// Where vendors put their specifications.
pub(crate) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    /// "vendor.com/class".
    kind: String,
    devices: Vec<Device>,
    /// What each of its devices needs, once.
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What a container gets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    #[serde(rename = "type")]
    kind: String,
    major: i64,
    minor: i64,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    host_path: String,
    container_path: String,
    #[serde(rename = "type")]
    kind: String,
    options: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hook {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

/// Every device that is known at this moment.
#[derive(Debug, Default)]
struct Registry {
    /// By "vendor.com/class=name": the file, and the place in it.
    devices: BTreeMap<String, (Arc<Specification>, usize)>,
    warnings: Vec<String>,
}

impl Registry {
    fn load(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for directory in directories {
            let mut found = BTreeMap::new();
            let mut twice = BTreeSet::new();
            for (path, specification) in registry.read(directory) {
                let specification = Arc::new(specification);
                for (place, device) in specification.devices.iter().enumerate() {
                    let name = format!("{}={}", specification.kind, device.name);
                    if found.insert(name.clone(), (Arc::clone(&specification), place)).is_some() {
                        let text = format!(
                            "CDI: Error associated with spec file {}: conflicting device \"{name}\"",
                            path.display()
                        );
                        registry.warnings.push(text);
                        twice.insert(name);
                    }
                }
            }
            registry.devices.extend(found);
            registry.devices.retain(|name, _| !twice.contains(name));
        }
        registry
    }

    /// The specifications of a directory, by name.
    fn read(&mut self, directory: &Path) -> Vec<(PathBuf, Specification)> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut read = Vec::new();
        for path in paths {
            let parsed = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => parse(&path, |text| serde_json::from_str(text).map_err(|e| e.to_string())),
                Some("yaml" | "yml") => parse(&path, yaml),
                _ => continue,
            };
            match parsed {
                Ok(specification) => read.push((path, specification)),
                Err(why) => self
                    .warnings
                    .push(format!("CDI: Error associated with spec file {}: {why}", path.display())),
            }
        }
        read
    }

    /// What the container of these devices gets, in order.
    fn edits(&self, names: &[String]) -> Result<Vec<Edits>> {
        let missing: Vec<_> =
            names.iter().filter(|name| !self.devices.contains_key(*name)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "CDI device injection failed: unresolvable CDI devices {}",
                missing.join(", ")
            )));
        }
        let mut files: Vec<&Arc<Specification>> = Vec::new();
        let mut edits = Vec::new();
        for (file, place) in names.iter().filter_map(|name| self.devices.get(name)) {
            if !files.iter().any(|known| Arc::ptr_eq(known, file)) {
                files.push(file);
                edits.push(file.container_edits.clone());
            }
            edits.extend(file.devices.get(*place).map(|device| device.container_edits.clone()));
        }
        Ok(edits)
    }
}

fn parse(
    path: &Path,
    read: impl FnOnce(&str) -> Result<Specification, String>,
) -> Result<Specification, String> {
    let specification = read(&fs::read_to_string(path).map_err(|error| error.to_string())?)?;
    match specification.kind.split_once('/') {
        Some((vendor, class)) if !vendor.is_empty() && !class.is_empty() => Ok(specification),
        _ => Err(format!("invalid kind {:?}: it has to be VENDOR/CLASS", specification.kind)),
    }
}

fn yaml(text: &str) -> Result<Specification, String> {
    // "0666" is the mode that it looks like, as for the readers that vendors test with.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

impl Engine {
    /// Gives a container the devices it asks for; `groups` are further groups of its process.
    pub(crate) fn give_devices(
        &self,
        requests: &[DeviceRequest],
        privileged: bool,
        spec: &mut Spec,
        groups: &mut Vec<String>,
    ) -> Result<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let registry = Registry::load(&self.options.cdi_directories);
        for request in requests {
            for edits in gpu::edits(request, &registry)? {
                apply::edits(&edits, privileged, spec, groups)?;
            }
        }
        Ok(())
    }

    /// The names of all devices, and what is wrong with the files that describe them.
    pub fn cdi_devices(&self) -> (Vec<String>, Vec<String>) {
        let registry = Registry::load(&self.options.cdi_directories);
        (registry.devices.into_keys().collect(), registry.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(files: &[(&str, &str)]) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let directories = ["first", "second"].map(|name| directory.path().join(name));
        directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
        for (path, text) in files {
            fs::write(directory.path().join(path), text).unwrap();
        }
        Registry::load(&directories)
    }

    const ONE: &str = "cdiVersion: 0.6.0\nkind: acme.com/box\ncontainerEdits:\n  env: [ALL=1]\ndevices:\n- name: a\n  \
                       containerEdits:\n    deviceNodes:\n    - {path: /dev/a, fileMode: 0666}\n- name: b\n";

    #[test]
    fn what_all_devices_of_a_file_need_comes_once() {
        let registry = registry(&[("first/one.yaml", ONE)]);
        let names = ["acme.com/box=a", "acme.com/box=b"].map(String::from);
        let edits = registry.edits(&names).unwrap();
        assert_eq!(edits.iter().filter(|edits| edits.env == ["ALL=1"]).count(), 1);
        assert_eq!(edits[1].device_nodes[0].file_mode, Some(0o666));
        let missing = registry.edits(&["acme.com/box=c".to_owned()]).unwrap_err();
        assert!(missing.message.ends_with("unresolvable CDI devices acme.com/box=c"));
    }

    #[test]
    fn later_directories_win_and_equals_cancel() {
        let json = |value: &str| {
            format!(
                r#"{{"kind":"acme.com/box","devices":[{{"name":"a","containerEdits":{{"env":["A={value}"]}}}}]}}"#
            )
        };
        let registry = registry(&[("first/x.json", &json("1")), ("second/x.json", &json("2"))]);
        let edits = registry.edits(&["acme.com/box=a".to_owned()]).unwrap();
        assert_eq!(edits[1].env, ["A=2"]);
        let registry = self::registry(&[("first/x.json", &json("1")), ("first/y.json", &json("2"))]);
        assert!(registry.devices.is_empty() && registry.warnings.len() == 1);
        let registry = self::registry(&[("first/x.json", "{"), ("first/x.txt", "{")]);
        assert_eq!(registry.warnings.len(), 1);
    }
}

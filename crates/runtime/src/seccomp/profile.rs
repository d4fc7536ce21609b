//! Docker's file format for seccomp policies: the specification's, with rules that depend on capabilities,
//! architecture and kernel, resolved for one container.

use hull_oci::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use super::Error;
use super::policy::Architecture;

/// A profile as it stands in its file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<Family>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Entry>>,
}

/// An architecture with those whose programs its kernel also runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a profile. Fields that are not known are passed over, as Docker does.
pub fn parse_profile(json: &str) -> Result<Profile, Error> {
    let invalid = |reason: String| Error::Profile(format!("decoding seccomp profile failed: {reason}"));
    let profile: Profile = serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
    let given = |list: Option<usize>| list.is_some_and(|length| length > 0);
    if given(profile.architectures.as_ref().map(Vec::len)) && given(profile.arch_map.as_ref().map(Vec::len)) {
        return Err(Error::Profile(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either of them"
                .to_owned(),
        ));
    }
    for entry in profile.syscalls.iter().flatten() {
        if entry.name.as_ref().is_some_and(|name| !name.is_empty())
            && given(entry.names.as_ref().map(Vec::len))
        {
            return Err(Error::Profile(
                "both 'name' and 'names' are specified in the seccomp profile, use either of them".to_owned(),
            ));
        }
        for version in [&entry.includes, &entry.excludes].into_iter().flatten().flat_map(|f| &f.min_kernel) {
            release(version).ok_or_else(|| invalid(format!("invalid kernel version: {version}")))?;
        }
    }
    Ok(profile)
}

impl Profile {
    /// The policy for a container with these capabilities (names as `CAP_SYS_ADMIN`), on this machine.
    pub fn resolve<S: AsRef<str>>(&self, capabilities: &[S]) -> LinuxSeccomp {
        let host = Host {
            capabilities: capabilities.iter().map(AsRef::as_ref).collect(),
            architecture: go_architecture(),
            kernel: release(&rustix::system::uname().release().to_string_lossy()).unwrap_or((0, 0)),
        };
        self.resolve_for(&host)
    }

    fn resolve_for(&self, host: &Host<'_>) -> LinuxSeccomp {
        let entries = self.syscalls.iter().flatten().filter(|entry| host.wants(entry));
        let mut policy = LinuxSeccomp::default();
        policy.set_default_action(self.default_action);
        policy.set_default_errno_ret(self.default_errno_ret);
        policy.set_architectures(self.architectures());
        policy.set_flags(self.flags.clone());
        policy.set_listener_path(self.listener_path.clone().filter(|path| !path.as_os_str().is_empty()));
        policy.set_listener_metadata(self.listener_metadata.clone().filter(|text| !text.is_empty()));
        policy.set_syscalls(Some(entries.map(Entry::rule).collect()));
        policy
    }

    /// The architectures as listed, or the native one's family of the map.
    fn architectures(&self) -> Option<Vec<Arch>> {
        let native = match Architecture::native() {
            Architecture::Aarch64 => Arch::ScmpArchAarch64,
            _ => Arch::ScmpArchX86_64,
        };
        match &self.architectures {
            Some(list) if !list.is_empty() => Some(list.clone()),
            _ => {
                let family = self.arch_map.iter().flatten().find(|family| family.architecture == native)?;
                Some([vec![native], family.sub_architectures.clone().unwrap_or_default()].concat())
            }
        }
    }
}

impl Entry {
    fn rule(&self) -> LinuxSyscall {
        let mut rule = LinuxSyscall::default();
        let single = self.name.iter().filter(|name| !name.is_empty()).cloned();
        rule.set_names(self.names.iter().flatten().cloned().chain(single).collect());
        rule.set_action(self.action);
        rule.set_errno_ret(self.errno_ret);
        rule.set_args(self.args.clone());
        rule
    }
}

/// What the conditions of entries are asked about.
struct Host<'a> {
    capabilities: Vec<&'a str>,
    architecture: &'static str,
    kernel: (u32, u32),
}

impl Host<'_> {
    /// Whether an entry is for this container: all that it includes, nothing that it excludes.
    fn wants(&self, entry: &Entry) -> bool {
        let includes = entry.includes.clone().unwrap_or_default();
        let excludes = entry.excludes.clone().unwrap_or_default();
        let has = |cap: &String| self.capabilities.contains(&cap.as_str());
        let here = |arch: &String| arch == self.architecture;
        let reached = |version: &String| release(version).is_some_and(|needed| self.kernel >= needed);
        let listed = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let caps = includes.caps.iter().flatten().all(has);
        let arch = !listed(&includes.arches) || includes.arches.iter().flatten().any(here);
        let kernel = includes.min_kernel.as_ref().is_none_or(reached);
        let excluded = excludes.caps.iter().flatten().any(has)
            || excludes.arches.iter().flatten().any(here)
            || excludes.min_kernel.as_ref().is_some_and(reached);
        caps && arch && kernel && !excluded
    }
}

/// The architecture by the name that profiles use.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

/// Major and minor number of a kernel release such as `6.1.0-13-amd64`.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "future": [],
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
                    { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null }],
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {} },
            { "name": "bpf", "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_BPF", "CAP_X"] } },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": { "caps": ["CAP_BPF"] } },
            { "names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["amd64", "x32"] } },
            { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } }
        ] }"#;

    fn names(capabilities: &[&str], architecture: &'static str, kernel: (u32, u32)) -> String {
        let host = Host { capabilities: capabilities.to_vec(), architecture, kernel };
        let policy = parse_profile(PROFILE).unwrap().resolve_for(&host);
        policy.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn entries_depend_on_the_container_and_its_host() {
        assert_eq!(names(&[], "amd64", (6, 1)), "read clone arch_prctl ptrace");
        assert_eq!(names(&["CAP_BPF"], "arm64", (4, 8)), "read ptrace");
        assert_eq!(names(&["CAP_BPF", "CAP_X"], "arm64", (3, 10)), "read bpf");
    }

    #[test]
    fn the_map_gives_the_native_family() {
        let policy = parse_profile(PROFILE).unwrap().resolve::<&str>(&[]);
        let expected = match std::env::consts::ARCH {
            "aarch64" => vec![Arch::ScmpArchAarch64],
            _ => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86],
        };
        assert_eq!(*policy.architectures(), Some(expected));
    }

    #[test]
    fn contradictions_are_refused() {
        let both = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{ "name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW" }] }"#;
        assert!(parse_profile(both).unwrap_err().to_string().starts_with("both 'name' and 'names'"));
        assert!(parse_profile("{}").is_err());
        assert!(parse_profile("not json").is_err());
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(release("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(release("4.8"), Some((4, 8)));
        assert_eq!(release("six"), None);
    }
}

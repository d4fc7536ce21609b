//! Kernel settings: only those that belong to a namespace of the container's own.

use std::path::PathBuf;

use hull_oci::runtime::Spec;
use hull_sys::clone::Namespace;

use super::namespaces::NamespacePlan;
use crate::Failure;

/// The files below /proc/sys, with their content.
pub(super) fn of(spec: &Spec, namespaces: &NamespacePlan) -> Result<Vec<(PathBuf, String)>, Failure> {
    let asked = spec.linux().iter().flat_map(|linux| linux.sysctl().iter().flatten());
    asked.map(|(name, value)| Ok((file(name, namespaces)?, value.clone()))).collect()
}

/// Those of the network namespace.
pub(crate) fn of_network(spec: &Spec) -> Vec<(PathBuf, String)> {
    let asked = spec.linux().iter().flat_map(|linux| linux.sysctl().iter().flatten());
    let files = asked.filter_map(|(name, value)| Some((path_of(name)?, value.clone())));
    let own = files.filter(|(path, _)| namespace_of(path) == Some(Namespace::Network));
    own.map(|(path, value)| (PathBuf::from(path), value)).collect()
}

fn file(name: &str, namespaces: &NamespacePlan) -> Result<PathBuf, Failure> {
    let failed = |text: String| Failure::text("sysctl", text);
    let path = path_of(name).ok_or_else(|| failed(format!("{name:?} is no name")))?;
    match namespace_of(&path) {
        Some(kind) if namespaces.has_own(kind) => Ok(PathBuf::from(path)),
        // In runc's words.
        Some(Namespace::InterProcessCommunication) => {
            Err(failed(format!("sysctl {name:?} is not allowed in the hosts ipc namespace")))
        }
        Some(Namespace::Network) => {
            Err(failed(format!("sysctl {name:?} not allowed in host network namespace")))
        }
        _ => Err(failed(format!("sysctl {name:?} is not in a separate kernel namespace"))),
    }
}

/// The file of a kernel setting below /proc/sys. As in sysctl(8), the first separator decides: `net.ipv4.tcp_mem`
/// or `net/ipv4/conf/eth0.1/forwarding`.
fn path_of(name: &str) -> Option<String> {
    let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'.');
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = if dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains(['\0', '\n']);
    plain.then_some(path)
}

/// The namespace that a kernel setting belongs to; `None` if it is the whole machine's.
fn namespace_of(path: &str) -> Option<Namespace> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    match path.split_once('/')? {
        ("net", _) => Some(Namespace::Network),
        ("fs", rest) if rest.starts_with("mqueue/") => Some(Namespace::InterProcessCommunication),
        ("kernel", name) if IPC.contains(&name) => Some(Namespace::InterProcessCommunication),
        ("user", _) => Some(Namespace::User),
        ("kernel", "domainname") => Some(Namespace::HostNameAndNISDomainName),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_settings_are_files() {
        assert_eq!(path_of("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net/../kernel/core_pattern"), None);
        assert_eq!(path_of("net.//.kernel"), None);
    }

    #[test]
    fn only_settings_with_a_namespace_are_let_in() {
        assert_eq!(namespace_of("net/core/somaxconn"), Some(Namespace::Network));
        assert_eq!(namespace_of("kernel/shmmax"), Some(Namespace::InterProcessCommunication));
        assert_eq!(namespace_of("kernel/shm_rmid_forced+kernel/core_pattern"), None);
        assert_eq!(namespace_of("kernel/core_pattern"), None);
        assert_eq!(namespace_of("vm/swappiness"), None);
    }
}

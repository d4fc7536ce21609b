//! Which capabilities a container's processes may have.

use hull_oci::runtime::Capability::{self, *};
use hull_oci::runtime::{Capabilities, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::built;
use crate::model::HostConfig;
use crate::{Error, Result};

/// What Docker gives to every container.
const DEFAULT: [Capability; 14] = [
    AuditWrite,
    Chown,
    DacOverride,
    Fowner,
    Fsetid,
    Kill,
    Mknod,
    NetBindService,
    NetRaw,
    Setfcap,
    Setgid,
    Setpcap,
    Setuid,
    SysChroot,
];

/// The capability of that name ("net_admin", "CAP_NET_ADMIN"), if there is one.
fn known(name: &str) -> Option<Capability> {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).parse().ok()
}

/// To change its rules, and to write packets that it does not see.
const ROUND_A_FIREWALL: [Capability; 2] = [Capability::NetAdmin, Capability::NetRaw];

/// The capabilities of a container, out of `all` that the kernel knows.
pub(crate) fn of(host: &HostConfig, all: &[Capability]) -> Result<Vec<Capability>> {
    if host.privileged {
        return Ok(all.to_vec());
    }
    let (add, add_all) = read("CapAdd", host.cap_add.as_deref(), all)?;
    let (drop, drop_all) = read("CapDrop", host.cap_drop.as_deref(), all)?;
    let without_dropped = |from: &[Capability]| -> Vec<Capability> {
        from.iter().copied().filter(|capability| !drop.contains(capability)).collect()
    };
    let mut kept = match (add_all, drop_all) {
        (true, _) => without_dropped(all),
        (false, true) => add,
        (false, false) => {
            let mut kept = without_dropped(&DEFAULT);
            kept.extend(
                add.into_iter()
                    .filter(|capability| !DEFAULT.contains(capability) || drop.contains(capability)),
            );
            kept
        }
    };
    if host.egress.as_ref().is_some_and(|policy| !policy.is_empty()) {
        kept.retain(|capability| !ROUND_A_FIREWALL.contains(capability));
    }
    Ok(kept)
}

/// Whether it is to have a capability that leads round a firewall in its own network namespace.
pub(crate) fn lead_round_a_firewall(host: &HostConfig) -> bool {
    let leads = |name: &String| {
        name.eq_ignore_ascii_case("ALL") || known(name).is_some_and(|name| ROUND_A_FIREWALL.contains(&name))
    };
    host.privileged || host.cap_add.iter().flatten().any(leads)
}

/// Reads names; also whether "ALL" was among them.
fn read(field: &str, names: Option<&[String]>, all: &[Capability]) -> Result<(Vec<Capability>, bool)> {
    let mut capabilities = Vec::new();
    let mut everything = false;
    for name in names.unwrap_or_default() {
        if name.eq_ignore_ascii_case("ALL") {
            everything = true;
            continue;
        }
        let full = || match name.to_ascii_uppercase() {
            upper if upper.starts_with("CAP_") => upper,
            upper => format!("CAP_{upper}"),
        };
        let capability = known(name)
            .ok_or_else(|| Error::invalid(format!("invalid {field}: unknown capability: \"{}\"", full())))?;
        if !all.contains(&capability) {
            return Err(Error::invalid(format!(
                "invalid {field}: capability not supported by your kernel or not available in the current \
                 environment: \"{}\"",
                full()
            )));
        }
        capabilities.push(capability);
    }
    Ok((capabilities, everything))
}

/// The sets of a process. Nothing is inheritable: who becomes another user loses all (CVE-2022-24769).
pub(crate) fn sets(capabilities: &[Capability]) -> Result<LinuxCapabilities> {
    let set: Capabilities = capabilities.iter().copied().collect();
    built(
        LinuxCapabilitiesBuilder::default()
            .bounding(set.clone())
            .effective(set.clone())
            .permitted(set)
            .inheritable(Capabilities::new())
            .ambient(Capabilities::new())
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Capability; 16] = [
        AuditWrite,
        Chown,
        DacOverride,
        Fowner,
        Fsetid,
        Kill,
        Mknod,
        NetBindService,
        NetRaw,
        Setfcap,
        Setgid,
        Setpcap,
        Setuid,
        SysChroot,
        SysAdmin,
        NetAdmin,
    ];

    fn tweaked(add: &[&str], drop: &[&str]) -> Result<Vec<Capability>> {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        of(&HostConfig { cap_add: names(add), cap_drop: names(drop), ..HostConfig::default() }, &ALL)
    }

    #[test]
    fn the_default_is_dockers() {
        assert_eq!(tweaked(&[], &[]).unwrap(), DEFAULT);
    }

    #[test]
    fn add_and_drop() {
        assert_eq!(tweaked(&["net_admin"], &["ALL"]).unwrap(), [NetAdmin]);
        assert_eq!(tweaked(&["all"], &["CAP_SYS_ADMIN"]).unwrap().len(), ALL.len() - 1);
        assert!(!tweaked(&[], &["mknod"]).unwrap().contains(&Mknod));
        let twice = tweaked(&["CHOWN"], &[]).unwrap();
        assert_eq!(twice.iter().filter(|capability| **capability == Chown).count(), 1);
    }

    #[test]
    fn unknown_names_are_refused_in_dockers_words() {
        let error = tweaked(&["frob"], &[]).unwrap_err();
        assert_eq!(error.message, "invalid CapAdd: unknown capability: \"CAP_FROB\"");
    }

    #[test]
    fn privileged_means_all() {
        let host = HostConfig { privileged: true, ..HostConfig::default() };
        assert_eq!(of(&host, &ALL).unwrap(), ALL);
    }
}

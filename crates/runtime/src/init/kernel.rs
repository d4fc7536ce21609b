//! The container's names and kernel settings.

use hull_sys::clone::{self, Namespace};
use hull_sys::{Context, Result, mount};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Init;
use crate::plan::refused;

pub(super) fn set_names(init: &mut Init<'_>) -> Result<()> {
    let spec = &init.create.spec;
    let named = [
        (spec.hostname(), clone::set_hostname as fn(&str) -> Result<()>),
        (spec.domainname(), clone::set_domainname),
    ];
    for (name, set) in named {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if !init.plan.namespaces.has_own(Namespace::HostNameAndNISDomainName) {
            // It would be the host's.
            return Err(refused(
                "name a container without a uts namespace",
                name.as_ref(),
                rustix::io::Errno::PERM,
            ));
        }
        set(name)?;
    }
    Ok(())
}

pub(super) fn set_sysctls(init: &mut Init<'_>) -> Result<()> {
    if init.plan.sysctls.is_empty() {
        return Ok(());
    }
    // Not by the path /proc: what is there is the container's affair (CVE-2025-52881).
    let procfs = match init.task.procfs.take() {
        Some(procfs) => procfs,
        None => mount::new_fs("proc", &[], mount::Attr::empty())?,
    };
    for (path, value) in &init.plan.sysctls {
        let path = std::path::Path::new("sys").join(path);
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = rustix::fs::openat2(&procfs, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), how)
            .on("open", &path)?;
        rustix::io::write(&file, value.as_bytes()).on("write", &path)?;
    }
    init.task.procfs = Some(procfs);
    Ok(())
}

//! What is made before the clone, because only the caller can: the container's root as a mount that nobody sees yet,
//! and mounts of host files that the container's process may not reach, or not change the ids of.

use std::os::fd::{AsFd, OwnedFd};

use hull_oci::runtime::ContainerState;
use hull_sys::Context;
use hull_sys::mount::{self, Writable};
use rustix::process::geteuid;

use crate::create::{Create, Rootfs};
use crate::failure::{Failure, Step};
use crate::init::mounts::{self, Prepared};
use crate::init::rootfs;
use crate::notify::Notifier;
use crate::plan::{Idmap, MountPlan, Plan, What};
use crate::{hooks, layers, userns};

/// What the new process is given.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Its root, if that was made here.
    pub(crate) root: Option<OwnedFd>,
    /// For each mount of the plan: that mount, if it was made here. Empty if none was. The new process takes its own
    /// instead, where it can: see [`mounts::prefer_locked`].
    pub(crate) mounts: Vec<Option<Prepared>>,
    /// The agent that answers the notifications of its filter, if it has one.
    pub(crate) notifier: Option<Notifier>,
}

impl Outside {
    pub(crate) fn prepare(create: &Create, plan: &Plan) -> Result<Self, Failure> {
        // Root in a user namespace is nobody on the host: neither paths nor ids of the host are open to him.
        let for_nobody = plan.maps_users() && geteuid().is_root();
        let root = match &create.rootfs {
            Rootfs::Directory(path) if for_nobody => Some(rootfs::clone_directory(path).step("rootfs")?),
            Rootfs::Directory(_) => None,
            Rootfs::Overlay { lower, upper, work, volatile, mapped } => {
                let writable = Writable { upper, work, volatile: *volatile };
                let users = mapped.then(|| container_users(create, plan)).transpose()?;
                Some(match users {
                    Some(users) => {
                        let root = userns::root(&create.spec).ok_or_else(no_maps)?;
                        layers::mapped(lower, writable, users.as_fd(), root).step("rootfs")?
                    }
                    None => mount::overlay(lower, Some(writable)).step("rootfs")?,
                })
            }
        };
        let state = || hooks::state(&create.spec, &create.id, &create.bundle);
        let notifier = Notifier::connect(create.seccomp.as_ref(), state, ContainerState::Created);
        let notifier = notifier.step("seccomp")?;
        let given = |mount: &MountPlan| match mount.what {
            What::Filesystem { .. } => create.mounts.get(&mount.target),
            _ => None,
        };
        let named = |mount: &MountPlan| create.sources.get(&mount.target);
        let bound = |mount: &MountPlan| {
            let ours = for_nobody || mount.idmap.is_some() || named(mount).is_some();
            matches!(mount.what, What::Bind(_)) && ours
        };
        let here = |mount: &MountPlan| bound(mount) || given(mount).is_some();
        if !plan.mounts.iter().any(here) {
            return Ok(Self { root, mounts: Vec::new(), notifier });
        }
        let make = |mount: &MountPlan| match &mount.what {
            What::Bind(source) if bound(mount) => {
                let users = mount.idmap.as_ref().map(|idmap| namespace(create, plan, idmap)).transpose()?;
                let made = match named(mount) {
                    Some(source) => mounts::from_source(mount, source, users.as_ref()),
                    None => mounts::bind(mount, source, users.as_ref()),
                };
                made.step("mounts").map(Some)
            }
            _ => given(mount).map(|made| mounts::given(mount, made).step("mounts")).transpose(),
        };
        let mounts = plan.mounts.iter().map(make).collect::<Result<_, Failure>>()?;
        Ok(Self { root, mounts, notifier })
    }
}

/// The user namespace whose maps an idmapped mount has.
fn namespace(create: &Create, plan: &Plan, idmap: &Idmap) -> Result<OwnedFd, Failure> {
    if let Some((users, groups)) = &idmap.maps {
        return userns::with_maps((users, groups)).step("mounts");
    }
    container_users(create, plan)
}

/// A user namespace with the container's maps.
fn container_users(create: &Create, plan: &Plan) -> Result<OwnedFd, Failure> {
    if let Some(user) = &plan.namespaces.user {
        return user.try_clone().op("dup").step("mounts");
    }
    let linux = create.spec.linux().as_ref();
    let maps = linux.and_then(|linux| Some((linux.uid_mappings().as_ref()?, linux.gid_mappings().as_ref()?)));
    match maps {
        Some((users, groups)) => userns::with_maps((users, groups)).step("mounts"),
        None => Err(no_maps()),
    }
}

fn no_maps() -> Failure {
    Failure::text("mounts", "an idmapped mount needs mappings, its own or the container's")
}

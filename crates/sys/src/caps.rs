//! Capabilities of the calling process: capabilities(7).

use rustix::io::Errno;
pub use rustix::thread::CapabilitySet;
use rustix::thread::{self, CapabilitySets};

use crate::{Context, Result};

/// The five sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    /// What the process may do now.
    pub effective: CapabilitySet,
    /// What it may make effective.
    pub permitted: CapabilitySet,
    /// What survives an execve of a file that asks for it.
    pub inheritable: CapabilitySet,
    /// What can be gained at all.
    pub bounding: CapabilitySet,
    /// What survives an execve without root.
    pub ambient: CapabilitySet,
}

impl Sets {
    /// No capability in any set.
    pub const NONE: Self = Self {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
        bounding: CapabilitySet::empty(),
        ambient: CapabilitySet::empty(),
    };
}

impl Sets {
    /// The same without what is not in `granted`; the bounding set can only be reduced anyhow.
    #[must_use]
    pub fn within(self, granted: CapabilitySet) -> Self {
        Self {
            effective: self.effective & granted,
            permitted: self.permitted & granted,
            inheritable: self.inheritable & granted,
            bounding: self.bounding,
            ambient: self.ambient & granted,
        }
    }
}

/// What the calling thread may make effective.
pub fn permitted() -> Result<CapabilitySet> {
    thread::capabilities(None).map(|sets| sets.permitted).op("capget")
}

/// The names of a set, as in capabilities(7).
pub fn names(set: CapabilitySet) -> String {
    let names: Vec<String> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    names.join(" ")
}

/// Takes everything that is not in `keep` out of the bounding set. Needs CAP_SETPCAP.
pub fn limit(keep: CapabilitySet) -> Result<()> {
    for (bit, capability) in each() {
        if keep.contains(capability) {
            continue;
        }
        match thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows no capability with this number, nor any with a higher one.
            Err(Errno::INVAL) => break,
            answer => answer.on("prctl capbset_drop", bit.to_string())?,
        }
    }
    Ok(())
}

/// Sets the effective, permitted, inheritable and ambient sets, in the order in which the kernel allows it.
/// The kernel leaves out what it does not know.
pub fn apply(sets: &Sets) -> Result<()> {
    let Sets { effective, permitted, inheritable, .. } = *sets;
    thread::set_capabilities(None, CapabilitySets { effective, permitted, inheritable }).op("capset")?;
    thread::clear_ambient_capability_set().op("prctl cap_ambient")?;
    // Only what is also permitted and inheritable can be ambient. `runc spec` lists more, and every runtime
    // starts that.
    let ambient = sets.ambient & permitted & inheritable;
    for (bit, capability) in each().filter(|(_, capability)| ambient.contains(*capability)) {
        match thread::configure_capability_in_ambient_set(capability, true) {
            Err(Errno::INVAL) => break,
            answer => answer.on("prctl cap_ambient", bit.to_string())?,
        }
    }
    Ok(())
}

/// Makes everything that is permitted effective again, as after a change of user with [`keep`].
pub fn raise() -> Result<()> {
    let mut sets = thread::capabilities(None).op("capget")?;
    sets.effective = sets.permitted;
    thread::set_capabilities(None, sets).op("capset")
}

/// Whether the permitted set survives a change from root to another user.
pub fn keep(keep: bool) -> Result<()> {
    thread::set_keep_capabilities(keep).op("prctl keepcaps")
}

fn each() -> impl Iterator<Item = (u32, CapabilitySet)> {
    (0..64).map(|bit| (bit, CapabilitySet::from_bits_retain(1 << bit)))
}

//! How much a container may write: `--storage-opt size=10G`.

use std::collections::BTreeMap;

use hull_snapshot::Snapshotter;

use crate::volumes::local::bytes;
use crate::{Error, Result};

/// Reads the options of a container; 0 or none at all: as much as there is.
pub(super) fn size(
    options: Option<&BTreeMap<String, String>>,
    default: Option<u64>,
    snapshots: &Snapshotter,
) -> Result<Option<u64>> {
    let named = |name: &str| options.into_iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let size = named("size");
    if size.is_some() && !snapshots.can_bound() {
        return Err(Error::invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    if let Some((name, _)) =
        options.into_iter().flatten().find(|(name, _)| !name.eq_ignore_ascii_case("size"))
    {
        return Err(Error::invalid(format!("Unknown option {}", name.to_ascii_lowercase())));
    }
    let size = size.map(|(_, text)| bytes(text)).transpose()?.or(default);
    Ok(size.filter(|bytes| *bytes > 0))
}

/// Whether containers that say nothing can have the size that they are to have.
pub(crate) fn check_default_size(snapshots: &Snapshotter, default: Option<u64>) -> Result<()> {
    match default {
        Some(1..) if !snapshots.can_bound() => Err(Error::invalid(
            "Storage option overlay2.size not supported. Filesystem does not support Project Quota: Filesystem does not \
             support, or has not enabled quotas",
        )),
        _ => Ok(()),
    }
}

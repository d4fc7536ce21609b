//! Where the files of containers and images lie, for those who look at them from the host. Docker tells it as the data
//! of its storage driver.

use std::path::PathBuf;

use hull_image::Image;

use crate::Engine;
use crate::model::Container;

/// The directories of a container or an image; who changes something there changes it behind the engine's back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The container's writable layer, or the image's top layer.
    pub upper: PathBuf,
    /// What is below it, the top one first.
    pub lower: Vec<PathBuf>,
    /// The kernel's directory for a writable layer.
    pub work: Option<PathBuf>,
    /// All of it as one tree, as long as the container runs: nothing is mounted on the host.
    pub merged: Option<PathBuf>,
}

impl Engine {
    /// A container's; `None` if a crash of the machine took them.
    pub fn places(&self, container: &Container) -> Option<Places> {
        let mounts = self.snapshots.places(&container.id)?;
        let runs = container.state.status.is_running();
        Some(Places {
            upper: mounts.upper,
            lower: mounts.lower,
            work: Some(mounts.work),
            merged: runs.then(|| format!("/proc/{}/root", container.state.pid).into()),
        })
    }

    /// An image's; `None` if it has no layers.
    pub fn places_of_image(&self, image: &Image) -> Option<Places> {
        let mut lower = self.snapshots.trees(&image.chain_ids);
        let upper = (!lower.is_empty()).then(|| lower.remove(0))?;
        Some(Places { upper, lower, work: None, merged: None })
    }
}

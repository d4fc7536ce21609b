//! Removing what nobody uses: anonymous volumes with their container, and others on demand.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::LOCAL;
use crate::events::EventKind;
use crate::measure::bytes_below;
use crate::model::{Pruned, Volume};
use crate::{Engine, Error, Kind, Result};

/// Only one prune at a time.
struct Pruning<'a>(&'a Engine);

impl Drop for Pruning<'_> {
    fn drop(&mut self) {
        self.0.volumes.pruning.store(false, Ordering::Release);
    }
}

impl Engine {
    /// Removes anonymous volumes that only the container `id` used.
    pub(crate) async fn remove_anonymous_volumes(self: &Arc<Self>, id: &str, names: &[String]) -> Result<()> {
        for name in names {
            let others = self.volume_users(name).into_iter().any(|user| user != id);
            if let (false, Some(volume)) = (others, self.volumes.get(name)) {
                match self.drop_volume(&volume, Some(id), false).await {
                    // Somebody has it since.
                    Err(error) if error.kind == Kind::Conflict => {}
                    dropped => dropped?,
                }
            }
        }
        Ok(())
    }

    /// Removes the unused local volumes that `select` wants: without `all`, only anonymous ones. Those with options are
    /// elsewhere, and removing them frees nothing.
    pub async fn volumes_prune(
        self: &Arc<Self>,
        all: bool,
        select: impl Fn(&Volume) -> bool + Send,
    ) -> Result<Pruned> {
        if self.volumes.pruning.swap(true, Ordering::Acquire) {
            return Err(Error::conflict("a prune operation is already running"));
        }
        let _pruning = Pruning(self);
        let used = self.volume_references();
        let wanted = self.recorded_volumes().into_iter().filter(|volume| {
            volume.driver == LOCAL
                && volume.options.as_ref().is_none_or(|options| options.is_empty())
                && (all || volume.is_anonymous())
                && !used.contains_key(&volume.name)
                && select(volume)
        });
        let mut pruned = Pruned::default();
        for volume in wanted.collect::<Vec<_>>() {
            let size = bytes_below(volume.mountpoint.clone()).await?;
            match self.drop_volume(&volume, None, false).await {
                Ok(()) => {
                    pruned.space_reclaimed += size;
                    pruned.removed.push(volume.name);
                }
                // Somebody has it since.
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        let attributes = [("reclaimed".to_owned(), pruned.space_reclaimed.to_string())];
        self.events.emit(EventKind::Volume, "prune", "", attributes.into());
        Ok(pruned)
    }
}

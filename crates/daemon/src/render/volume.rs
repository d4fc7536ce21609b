//! A volume.

use hull_api::wire::volume as wire;
use hull_engine::model::{Volume, VolumeUsage};

use super::container::signed;

/// A volume; with what it uses only in `GET /system/df`.
pub(crate) fn volume(volume: &Volume, usage: Option<&VolumeUsage>) -> wire::Volume {
    wire::Volume {
        // Whole seconds; a plugin may not know, which Go shows as its first moment.
        created_at: volume.created.map_or_else(
            || "0001-01-01T00:00:00Z".to_owned(),
            |created| created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        ),
        driver: volume.driver.clone(),
        labels: volume.labels.clone(),
        mountpoint: volume.mountpoint.to_string_lossy().into_owned(),
        name: volume.name.clone(),
        options: volume.options.clone(),
        scope: volume.scope.clone(),
        status: volume.status.clone(),
        usage_data: usage.map(|usage| wire::VolumeUsage {
            ref_count: i64::try_from(usage.ref_count).unwrap_or(i64::MAX),
            size: signed(usage.size),
        }),
    }
}

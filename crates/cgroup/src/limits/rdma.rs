//! Handles and objects of RDMA devices.

use std::collections::HashMap;

use hull_oci::runtime::LinuxRdma;

use super::Setting;

/// The same file in both versions, one line a device.
pub(super) fn settings(devices: &HashMap<String, LinuxRdma>) -> Vec<Setting> {
    let mut settings: Vec<_> =
        devices.iter().map(|(name, limit)| Setting::new("rdma.max", line(name, limit))).collect();
    settings.sort_by(|a, b| a.value.cmp(&b.value));
    settings
}

fn line(device: &str, limit: &LinuxRdma) -> String {
    let handles = limit.hca_handles().map(|n| format!(" hca_handle={n}")).unwrap_or_default();
    let objects = limit.hca_objects().map(|n| format!(" hca_object={n}")).unwrap_or_default();
    format!("{device}{handles}{objects}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::texts;
    use hull_oci::runtime::LinuxRdmaBuilder;

    #[test]
    fn writes_one_line_a_device() {
        let limit = LinuxRdmaBuilder::default().hca_handles(3_u32).hca_objects(10_u32).build().unwrap();
        let devices = HashMap::from([("mlx5_1".to_owned(), limit)]);
        assert_eq!(texts(&settings(&devices)), ["rdma.max=mlx5_1 hca_handle=3 hca_object=10"]);
    }
}

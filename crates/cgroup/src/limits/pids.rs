//! The number of tasks.

use hull_oci::runtime::LinuxPids;

use super::Setting;

/// The same file in both versions; 0 is not set, less is unlimited.
pub(super) fn settings(pids: &LinuxPids) -> Vec<Setting> {
    match pids.limit() {
        0 => Vec::new(),
        limit if limit < 0 => vec![Setting::new("pids.max", "max")],
        limit => vec![Setting::new("pids.max", limit)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::texts;
    use hull_oci::runtime::LinuxPidsBuilder;

    #[test]
    fn limits_tasks() {
        let limit = |limit: i64| texts(&settings(&LinuxPidsBuilder::default().limit(limit).build().unwrap()));
        assert_eq!(limit(64), ["pids.max=64"]);
        assert_eq!(limit(-1), ["pids.max=max"]);
        assert_eq!(limit(0), Vec::<String>::new());
    }
}

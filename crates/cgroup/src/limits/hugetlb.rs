//! Huge pages, by page size (`2MB`, `1GB`).

use hull_oci::runtime::LinuxHugepageLimit;

use super::Setting;
use crate::error::{Error, Result};
use crate::hierarchy::Dialect;

pub(super) fn settings(dialect: Dialect, limit: &LinuxHugepageLimit) -> Result<Vec<Setting>> {
    let size = limit.page_size();
    let valid = size.strip_suffix(['B']).and_then(|s| s.strip_suffix(['K', 'M', 'G']));
    if !valid.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())) {
        return Err(Error::Invalid(format!("huge page size {size:?} is not of the form 2MB")));
    }
    let file = match dialect {
        Dialect::V1 => "limit_in_bytes",
        Dialect::V2 => "max",
    };
    let used = Setting::new(format!("hugetlb.{size}.{file}"), limit.limit());
    // What is only reserved is not counted as used, and would kill who touches it; kernels before 5.7 do not count it.
    let reserved = Setting::new(format!("hugetlb.{size}.rsvd.{file}"), limit.limit()).optional();
    Ok(vec![used, reserved])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::texts;
    use hull_oci::runtime::LinuxHugepageLimitBuilder;

    #[test]
    fn names_the_file_after_the_page_size() {
        let limit =
            |size: &str| LinuxHugepageLimitBuilder::default().page_size(size).limit(4).build().unwrap();
        assert_eq!(
            texts(&settings(Dialect::V1, &limit("2MB")).unwrap()),
            ["hugetlb.2MB.limit_in_bytes=4", "hugetlb.2MB.rsvd.limit_in_bytes=4"]
        );
        assert_eq!(
            texts(&settings(Dialect::V2, &limit("1GB")).unwrap()),
            ["hugetlb.1GB.max=4", "hugetlb.1GB.rsvd.max=4"]
        );
        assert!(settings(Dialect::V1, &limit("../2MB")).is_err());
        assert!(settings(Dialect::V1, &limit("MB")).is_err());
    }
}

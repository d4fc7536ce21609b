//! Bounds on what an archive may make us do.

/// How much of an archive is unpacked before it is called a bomb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes read from the (uncompressed) archive, headers and padding included. What is written is never
    /// more: holes of sparse files take no space.
    pub max_bytes: u64,
    /// Files, directories and links made, missing parents included.
    pub max_entries: u64,
}

impl Default for Limits {
    /// Far above any image that was ever published: 256 GiB in 16 million files.
    fn default() -> Self {
        Self { max_bytes: 256 << 30, max_entries: 16 << 20 }
    }
}

//! Archives: POSIX `ustar` and `pax` (pax(1p)), and the GNU forms that images are found with (tar(5)).
//!
//! Read: old, ustar, star and GNU headers; PAX records; long names and links of either kind; sparse files in the old
//! GNU form and PAX 0.0, 0.1 and 1.0; base-256 numbers. Written: ustar, and PAX records only for what does not fit.
//!
//! The `tar` crate is not used: it splits PAX records at newlines, which binary attributes contain, and does not
//! know the sparse forms of PAX.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

/// Archives come in blocks of this many bytes.
const BLOCK: usize = 512;

/// The bytes that fill up `length` to whole blocks.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK as u64
}

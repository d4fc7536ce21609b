//! Where records begin and end, in either format.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use hull_shim::entry::{self, Frame};
use hull_shim::protocol::LogFormat;
use memchr::memrchr;

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;
/// Bytes of the length at the end of an entry.
const LENGTH: usize = 4;

/// The length of the whole records at the beginning of `bytes`, of which the first `known` hold no end of one; 0: none
/// yet. `None`: what stands there is no record, and none follows that could be found.
pub(super) fn whole(format: LogFormat, bytes: &[u8], known: usize) -> Option<usize> {
    match format {
        LogFormat::JsonFile => Some(memrchr(b'\n', &bytes[known..]).map_or(0, |end| known + end + 1)),
        LogFormat::Entries => {
            let mut at = 0;
            loop {
                match entry::frame(&bytes[at..]) {
                    Frame::Whole(count) => at += count,
                    Frame::Partial => return Some(at),
                    // What comes before it is still good.
                    Frame::Foreign => return Some(at).filter(|at| *at > 0),
                }
            }
        }
    }
}

/// Where the last `wanted` records of a file begin that ends at `end`, and how many there are (fewer, if the file is
/// short).
pub(super) fn from_end(format: LogFormat, file: &File, end: u64, wanted: usize) -> io::Result<(u64, usize)> {
    if wanted == 0 || end == 0 {
        return Ok((end, 0));
    }
    match format {
        LogFormat::JsonFile => lines_from_end(file, end, wanted),
        LogFormat::Entries => entries_from_end(file, end, wanted),
    }
}

fn lines_from_end(file: &File, mut end: u64, wanted: usize) -> io::Result<(u64, usize)> {
    let mut block = vec![0; BLOCK];
    // The newline that ends the last line begins no further one; an unfinished last line is none yet.
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        for index in memchr::memrchr_iter(b'\n', block) {
            if newlines == wanted {
                return Ok((start + index as u64 + 1, wanted));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((0, newlines))
}

fn entries_from_end(file: &File, mut end: u64, wanted: usize) -> io::Result<(u64, usize)> {
    let mut found = 0;
    while found < wanted && end > 0 {
        let mut length = [0; LENGTH];
        file.read_exact_at(&mut length, end.checked_sub(LENGTH as u64).ok_or(io::ErrorKind::InvalidData)?)?;
        let size = entry::size_of_last(length);
        end = end.checked_sub(size).ok_or(io::ErrorKind::InvalidData)?;
        found += 1;
    }
    Ok((end, found))
}

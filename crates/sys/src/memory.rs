//! Memory that goes back to the kernel when it is not needed: mmap(2), madvise(2).

use std::ffi::c_void;
use std::ops::{Deref, DerefMut};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::{Context, Result};

/// A buffer in pages of its own. Only pages that were written to exist, and [`Pages::release`] gives them back;
/// so a large buffer of an idle process costs nothing.
#[derive(Debug)]
pub struct Pages {
    start: *mut c_void,
    length: usize,
}

impl Pages {
    /// `length` bytes of zeroes, which nothing has been allocated for yet. It must not be 0.
    pub fn new(length: usize) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let start = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE)
        };
        Ok(Self { start: start.op("mmap")?, length })
    }

    /// Gives the pages back; the buffer is all zeroes again.
    pub fn release(&mut self) {
        // SAFETY: the range is this mapping, borrowed exclusively, so nobody sees the contents change; private
        // anonymous memory reads as zeroes afterwards. A failure would leave the contents, which is as good.
        let _ = unsafe { rustix::mm::madvise(self.start, self.length, Advice::LinuxDontNeed) };
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is `length` readable, initialised (zero) bytes, lives as long as `self`, and is
        // written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no reference to it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start, self.length) };
    }
}

/// The machine code of this process, where it lies in memory.
#[derive(Debug)]
pub struct Program {
    start: usize,
    length: usize,
}

impl Program {
    /// Looks it up in /proc/self/maps. `None` if it is not there.
    pub fn find() -> Option<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let here = Self::find as *const () as usize;
        maps.lines()
            .filter_map(Self::parse)
            .find(|found| (found.start..found.start + found.length).contains(&here))
    }

    /// A line of proc_pid_maps(5), if it maps code of a file that cannot be written to.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let code = fields.next()? == "r-xp" && fields.nth(2)? != "0";
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        code.then_some(Self { start, length: end - start })
    }

    /// Lets go of the pages of code that were used once; what is needed again is mapped again from the page cache.
    pub fn release(&self) {
        // SAFETY: the range maps a file and was never writable, so every page is as in the file, and the file of a
        // running program cannot be changed (ETXTBSY): what is read there again is what is there now.
        let _ = unsafe { rustix::mm::madvise(self.start as *mut c_void, self.length, Advice::LinuxDontNeed) };
    }
}

/// Gives the free pages of the heap back to the kernel.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only releases memory that the allocator itself holds free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_on_without_its_pages() {
        let program = Program::find().expect("the mapping of this code");
        program.release();
        assert!(Program::parse("7ffd07e43000-7ffd07e64000 rw-p 00000000 00:00 0 [stack]").is_none());
        assert!(Program::parse("7f9889f60000-7f9889f62000 r-xp 00000000 00:00 0 [vdso]").is_none());
    }

    #[test]
    fn released_pages_are_zeroes() {
        let mut pages = Pages::new(1 << 16).expect("map");
        assert_eq!(pages.len(), 1 << 16);
        pages[1000] = 7;
        assert_eq!(pages[1000], 7);
        pages.release();
        assert!(pages.iter().all(|byte| *byte == 0));
    }
}

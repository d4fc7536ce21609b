//! Memory that goes back to the kernel when it is not needed: mmap(2), madvise(2).

use std::ffi::c_void;
use std::ops::{Deref, DerefMut, Range};

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

/// What of this process's memory is needed only while it works.
#[derive(Debug)]
pub struct Spare {
    code: Option<Range<usize>>,
    stack: Option<Range<usize>>,
}

impl Spare {
    /// Looks it up in /proc/self/maps.
    pub fn find() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let here = Self::find as *const () as usize;
        let code = maps.lines().filter_map(code).find(|code| code.contains(&here));
        Self { code, stack: maps.lines().find_map(stack) }
    }

    /// Gives back the pages of code (what is needed again is mapped again from the page cache), those of the first
    /// thread's stack that the functions below the caller have used (if it is the caller), and the heap's free ones.
    pub fn release(&self) {
        trim_heap();
        if let Some(code) = &self.code {
            // SAFETY: the range maps a file and was never writable, so every page is as in the file, and the file of
            // a running program cannot be changed (ETXTBSY): what is read there again is what is there now.
            let _ = unsafe { dont_need(code) };
        }
        let frame = 0_u8;
        let here = (&raw const frame).addr();
        if let Some(stack) = self.stack.as_ref().filter(|stack| stack.contains(&here)) {
            let unused = stack.start..(here - MARGIN) / PAGE * PAGE;
            // SAFETY: the stack grows down, so below this frame there is only what functions have left that returned
            // already. The margin is more than the frames of this call and the red zone below them.
            let _ = unsafe { dont_need(&unused) };
        }
    }
}

const PAGE: usize = 4096;
/// Of the stack, below the frame that releases the rest.
const MARGIN: usize = 4096;

/// # Safety
/// Nothing in these pages may be needed that is not there again when they are read anew.
unsafe fn dont_need(range: &Range<usize>) -> rustix::io::Result<()> {
    let length = range.end.saturating_sub(range.start);
    // SAFETY: as the caller says.
    unsafe { rustix::mm::madvise(range.start as *mut c_void, length, Advice::LinuxDontNeed) }
}

/// The range of a line of proc_pid_maps(5), if it maps code of a file that cannot be written to.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let range = range(fields.next()?)?;
    (fields.next()? == "r-xp" && fields.nth(2)? != "0").then_some(range)
}

/// The same of the first thread's stack.
fn stack(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let range = range(fields.next()?)?;
    (fields.last()? == "[stack]").then_some(range)
}

fn range(field: &str) -> Option<Range<usize>> {
    let (start, end) = field.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// Has the threads share a few heaps. As it is, the allocator makes one for each, up to eight for each processor, and
/// what is free in one of them serves no other. To be called before there are threads.
pub fn share_heaps(_count: u8) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) with M_ARENA_MAX changes a number of the allocator's.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, libc::c_int::from(_count));
    }
}

/// Gives the free pages of the heap back to the kernel.
fn trim_heap() {
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
        let spare = Spare::find();
        assert!(spare.code.is_some() && spare.stack.is_some());
        spare.release();
        let stack_line = "7ffd07e43000-7ffd07e64000 rw-p 00000000 00:00 0 [stack]";
        assert_eq!((code(stack_line), stack(stack_line)), (None, Some(0x7ffd_07e4_3000..0x7ffd_07e6_4000)));
        assert!(code("7f9889f60000-7f9889f62000 r-xp 00000000 00:00 0 [vdso]").is_none());
    }

    #[test]
    fn a_stack_is_released_below_the_caller() {
        // The test's thread has a stack of its own, which stands for the first one's.
        fn deep(length: usize) -> usize {
            let bytes = vec![1_u8; length];
            let on_the_stack = std::hint::black_box([7_u8; 1 << 16]);
            std::hint::black_box(&on_the_stack).iter().map(|byte| usize::from(*byte)).sum::<usize>()
                + bytes.len()
        }
        let kept = std::hint::black_box([5_u8; 100]);
        let here = (&raw const kept).addr();
        let whole = here - (1 << 17)..here + 4096;
        let spare = Spare { code: None, stack: Some(whole.start / PAGE * PAGE..whole.end) };
        let before = deep(10);
        let resident = || {
            let mut pages = [0_u8; 8];
            // SAFETY: mincore(2) writes a byte for each of the eight pages asked about.
            unsafe {
                libc::mincore(((here - (1 << 15)) / PAGE * PAGE) as *mut c_void, 8 * PAGE, pages.as_mut_ptr())
            };
            pages.iter().filter(|page| **page & 1 == 1).count()
        };
        let used = resident();
        spare.release();
        let left = resident();
        assert!(left < used, "{left} of {used} pages are left");
        assert_eq!((deep(10), kept), (before, [5; 100]));
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

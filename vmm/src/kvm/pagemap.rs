//! Which pages of a VM are its own: touched by it, or copied from its image.
//!
//! Source: Linux `Documentation/admin-guide/mm/pagemap.rst`.

use denali_abi::memory::PAGE_BYTES;
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};
use vm_memory::VolatileSlice;
use vmm_sys_util::{ioctl::ioctl_with_mut_ref, ioctl_iowr_nr};

/// This process's page map. Opened early: a jailed worker has no `/proc`.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
    /// Whether the kernel has PAGEMAP_SCAN (Linux 6.7).
    scans: bool,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

ioctl_iowr_nr!(PAGEMAP_SCAN, b'f' as u32, 16, Scan);

/// The number of that call.
pub(super) const PAGEMAP_SCAN_CALL: u64 = 3 << 30 | (size_of::<Scan>() as u64) << 16 | (b'f' as u64) << 8 | 16;

const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

/// Regions asked for at a time.
const REGIONS: usize = 128;

impl Pagemap {
    pub(super) fn open() -> io::Result<Self> {
        let mut pagemap = Self { file: File::open("/proc/self/pagemap")?, scans: true };
        pagemap.scans = pagemap.scan(0, PAGE_BYTES, &mut |_| {}).is_ok();
        Ok(pagemap)
    }

    /// Calls `visit` with each run of pages in `memory` that are in memory or swapped out by the host and not of a file,
    /// as offsets. The page of zeros that reads are given is not among them.
    pub(super) fn private(&self, memory: &VolatileSlice<'_>, mut visit: impl FnMut(Range<u64>)) -> io::Result<()> {
        let start = memory.ptr_guard().as_ptr() as u64;
        let mut visit = |pages: Range<u64>| visit(pages.start - start..pages.end - start);
        let end = start + memory.len() as u64;
        if self.scans { self.scan(start, end, &mut visit) } else { self.read(start, end, &mut visit) }
    }

    fn scan(&self, start: u64, end: u64, visit: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        let mut regions = [Region::default(); REGIONS];
        let mut at = start;
        while at < end {
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                start: at,
                end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                category_inverted: FILE | ZERO,
                category_mask: FILE | ZERO,
                category_anyof_mask: PRESENT | SWAPPED,
                return_mask: PRESENT,
                ..Scan::default()
            };
            // SAFETY: the argument has the kernel's layout and size, and says how many regions there is room for; both
            // outlive the call. Without the flags that change pages, the call only reads page tables.
            let found = unsafe { ioctl_with_mut_ref(&self.file, PAGEMAP_SCAN(), &mut scan) };
            let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
            for region in &regions[..found.min(REGIONS)] {
                visit(region.start..region.end);
            }
            at = scan.walk_end.max(at + PAGE_BYTES);
        }
        Ok(())
    }

    /// The same for older kernels: an entry of eight bytes for each page, a thousand times slower where memory is large
    /// and empty.
    fn read(&self, start: u64, end: u64, visit: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        const PRESENT: u64 = 1 << 63;
        const SWAPPED: u64 = 1 << 62;
        const FILE_OR_SHARED: u64 = 1 << 61;
        let mut buffer = vec![0; 64 * 1024];
        let mut at = start;
        while at < end {
            let wanted = ((end - at) / PAGE_BYTES * 8).min(buffer.len() as u64) as usize;
            let read = self.file.read_at(&mut buffer[..wanted], at / PAGE_BYTES * 8)?;
            if read < 8 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for entry in buffer[..read].as_chunks::<8>().0 {
                let entry = u64::from_le_bytes(*entry);
                if entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0 {
                    visit(at..at + PAGE_BYTES);
                }
                at += PAGE_BYTES;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

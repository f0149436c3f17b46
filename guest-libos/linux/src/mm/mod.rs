//! The address space of one process: what mmap, munmap, mprotect, mremap, madvise and brk do.
//!
//! There is one flat space in a Denali VM, guest-virtual equals guest-physical, and memory is scarce. So addresses are of
//! three kinds ([`Areas`]): the *program* area, the *arena* for everything else that has memory, and the *reserve*, far
//! above all memory, where there is only bookkeeping until pages are asked of the embedder ([`Pages::back`]).
//!
//! Kept true: mappings don't overlap; each lies in one area; a page that a mapping comes to show anew is zero; none is
//! writable and executable; the same page is never in two mappings, so there is never more memory in use than there is.
//!
//! What differs from Linux, on purpose:
//! - A shared mapping is a private one: no other process could see it. Of a file it is a copy that `call` keeps the same.
//! - Private mappings of files are copies, made when they are mapped.
//! - Freed memory keeps its rights, to save exits: using it after munmap need not fault. System calls refuse it.
//! - Writable and executable at once is `EACCES`.
//! - mprotect of a range with a hole changes nothing, instead of what precedes the hole.
//!
//! Pure. System calls are called with their raw arguments, which are hostile.

mod advise;
mod brk;
mod check;
mod map;
mod maps;
mod pool;
mod protect;
mod remap;
mod rights;
mod runs;
mod store;

#[cfg(test)]
mod tests;

pub use map::{File, Request};
pub use pool::{Piece, Pool};
pub use rights::{Access, Rights};
pub use store::Pages;

use crate::errno::Errno;
use alloc::sync::Arc;
use core::{cell::Cell, ops::Range};
use runs::Runs;
use store::Store;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;
/// Most mappings, as `vm.max_map_count` is on Linux, but for a kernel heap that is small.
pub const MAPPINGS_MAX: usize = 16_384;
/// End of what can be an address of a program: 47 bits, as on Linux.
const ADDRESS_END: u64 = 1 << 47;

/// Where things may lie. Ends are page-aligned, and the areas ascend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Areas {
    /// Where the program lies. Only mappings of fixed address come here.
    pub program: Range<u64>,
    /// Memory for everything else: brk grows from its low end, mmap downwards from its high end.
    pub arena: Range<u64>,
    /// Addresses without memory, not adjacent to the arena; may be empty.
    pub reserve: Range<u64>,
}

/// What a mapping shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeros at first.
    Anonymous,
    /// What brk grows.
    Heap,
    /// The first thread's stack.
    Stack,
    /// A copy of a file.
    File {
        /// Its path, for `/proc/self/maps`.
        name: Arc<str>,
        /// Place in the file of a byte, minus its address, modulo 2⁶⁴: so parts of a mapping have equal values.
        bias: u64,
    },
}

/// A mapping: one value for a range of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    rights: Rights,
    shared: bool,
    /// It is shared, and its file may not be written.
    read_only: bool,
    /// Made for a thread's stack.
    stack: bool,
    backing: Backing,
}

/// The address space of a process.
#[derive(Debug)]
pub struct Space<P> {
    areas: Areas,
    mappings: Runs<Mapping>,
    store: Store<P>,
    /// End of the heap, in bytes.
    brk: u64,
    /// Most bytes in all mappings: `RLIMIT_AS`.
    limit: u64,
    /// For [`Space::check`]: what it last found to be readable, and to be writable.
    found: [Cell<(u64, u64)>; 2],
}

impl<P: Pages> Space<P> {
    /// An empty address space. All memory of the program area and the arena is zero, and can be read and written.
    ///
    /// # Errors
    /// `EINVAL` if the areas aren't as [`Areas`] says.
    pub fn new(areas: Areas, pages: P) -> Result<Self, Errno> {
        let Areas { program, arena, reserve } = &areas;
        let ends = [program.start, program.end, arena.start, arena.end, reserve.start, reserve.end];
        let aligned = ends.iter().all(|end| end.is_multiple_of(PAGE_BYTES) && *end <= ADDRESS_END);
        if !aligned || !ends.is_sorted() || (arena.end == reserve.start && !reserve.is_empty()) {
            return Err(Errno::EINVAL);
        }
        let (brk, store) = (arena.start, Store::new(pages, reserve.clone()));
        let found = Default::default();
        Ok(Self { areas, mappings: Runs::new(), store, brk, limit: u64::MAX, found })
    }

    /// What the embedder gave.
    pub fn pages(&mut self) -> &mut P {
        &mut self.store.pages
    }

    /// The same, to be looked at.
    pub(crate) fn machine(&self) -> &P {
        &self.store.pages
    }

    /// Bytes in all mappings.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.mappings.total()
    }

    /// Bytes that all mappings with memory can have together.
    #[must_use]
    pub fn memory(&self) -> u64 {
        [&self.areas.program, &self.areas.arena].into_iter().map(|area| area.end - area.start).sum()
    }

    /// Whether all of a range is mapped, with whatever rights.
    #[must_use]
    pub fn is_mapped(&self, address: u64, bytes: u64) -> bool {
        address.checked_add(bytes).is_some_and(|end| self.covered(&(address..end)))
    }

    /// Sets the most bytes in all mappings, `RLIMIT_AS`; those that are there stay.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// The area that `range` lies in.
    fn area(&self, range: &Range<u64>) -> Option<&Range<u64>> {
        let areas = [&self.areas.program, &self.areas.arena, &self.areas.reserve];
        areas.into_iter().find(|area| area.start <= range.start && range.end <= area.end)
    }

    /// Whether nothing is mapped in `range`.
    fn free(&self, range: &Range<u64>) -> bool {
        self.mappings.touching(range).is_empty()
    }

    /// Whether all of `range` is mapped.
    fn covered(&self, range: &Range<u64>) -> bool {
        self.mappings.gaps(range).next().is_none()
    }

    /// Whether `more` bytes may be mapped, and one mapping be cut in the middle.
    fn admit(&self, more: u64) -> Result<(), Errno> {
        let room = self.mapped().checked_add(more).is_some_and(|total| total <= self.limit);
        if room && self.mappings.len() + 2 <= MAPPINGS_MAX { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Removes what is mapped in `range`.
    fn unmap(&mut self, range: &Range<u64>) {
        for area in [&self.areas.program, &self.areas.arena, &self.areas.reserve] {
            let part = range.start.max(area.start)..range.end.min(area.end);
            self.store.discard(&part);
        }
        self.mappings.remove(range);
        self.forget_found();
    }

    /// Enters a mapping whose pages are ready.
    fn enter(&mut self, range: &Range<u64>, mapping: Mapping) {
        self.mappings.set(range, mapping);
        self.forget_found();
    }
}

/// The whole pages of `bytes` from `address` on, which is page-aligned: the range that most calls are about.
///
/// `EINVAL` for an address that isn't aligned, and for a range that leaves the space of addresses.
fn pages_of(address: u64, bytes: u64) -> Result<Range<u64>, Errno> {
    let end = bytes.checked_next_multiple_of(PAGE_BYTES).and_then(|bytes| address.checked_add(bytes));
    match end {
        Some(end) if address.is_multiple_of(PAGE_BYTES) && end <= ADDRESS_END => Ok(address..end),
        _ => Err(Errno::EINVAL),
    }
}

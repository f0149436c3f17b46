//! mmap and munmap, and where a mapping without a fixed address goes.
//!
//! With rights it goes to the arena, as high as may be. Without any it is a reservation: a small one goes to the arena
//! too (the stacks of threads begin as such), a large one to the reserve. What finds no room in the one goes to the other.

use super::{Backing, Mapping, PAGE_BYTES, Pages, Rights, Space, pages_of};
use crate::errno::Errno;
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
use linux_raw_sys::general as raw;

/// A reservation is small if the arena holds this many of its size.
const SMALL: u64 = 4;
/// `MAP_32BIT`: only addresses below this.
const LOW_END: u64 = 1 << 31;

const FIXED: u64 = raw::MAP_FIXED as u64;
const FIXED_NOREPLACE: u64 = raw::MAP_FIXED_NOREPLACE as u64;
const ANONYMOUS: u64 = raw::MAP_ANONYMOUS as u64;
const STACK: u64 = raw::MAP_STACK as u64;
const HUGE: u64 = raw::MAP_HUGETLB as u64;
const LOW: u64 = raw::MAP_32BIT as u64;
const KIND: u64 = raw::MAP_TYPE as u64;
const SHARED: u64 = raw::MAP_SHARED as u64;
const PRIVATE: u64 = raw::MAP_PRIVATE as u64;
const SHARED_VALIDATE: u64 = raw::MAP_SHARED_VALIDATE as u64;

/// The arguments of mmap; the descriptor was looked up.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The address wanted, or 0.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// `PROT_*`.
    pub prot: u64,
    /// `MAP_*`.
    pub flags: u64,
    /// The file, unless the flags say `MAP_ANONYMOUS`.
    pub file: Option<File<'a>>,
}

/// A file to be mapped.
#[derive(Clone, Debug)]
pub struct File<'a> {
    /// Its path, for `/proc/self/maps`.
    pub name: Arc<str>,
    /// Where in the file the mapping begins.
    pub offset: u64,
    /// What it contains from there on, in pieces one after the other; zeros follow.
    pub contents: &'a [&'a [u8]],
    /// Whether a shared mapping may be written.
    pub writable: bool,
}

impl<P: Pages> Space<P> {
    /// mmap: maps memory, and returns its address.
    ///
    /// `MAP_NORESERVE`, `MAP_POPULATE`, `MAP_GROWSDOWN`, `MAP_LOCKED` and the like are allowed and mean nothing.
    ///
    /// # Errors
    /// `EINVAL` for arguments that make no sense, `EBADF` without a file, `EACCES` for write with execute and for
    /// writing to a shared file that may not be, `EEXIST` for `MAP_FIXED_NOREPLACE` of what is mapped, `ENOMEM` if there is no room.
    pub fn mmap(&mut self, request: &Request<'_>) -> Result<u64, Errno> {
        let Request { address, bytes, prot, flags, .. } = *request;
        let rights = Rights::from_prot(prot)?;
        let shared = match flags & KIND {
            PRIVATE => false,
            SHARED | SHARED_VALIDATE => true,
            _ => return Err(Errno::EINVAL),
        };
        let file = if flags & ANONYMOUS != 0 { None } else { Some(request.file.as_ref().ok_or(Errno::EBADF)?) };
        if bytes == 0 || file.is_some_and(|f| !f.offset.is_multiple_of(PAGE_BYTES)) {
            return Err(Errno::EINVAL);
        }
        if flags & HUGE != 0 {
            return Err(Errno::ENOMEM);
        }
        let read_only = shared && file.is_some_and(|file| !file.writable);
        if read_only && rights == Rights::Write {
            return Err(Errno::EACCES);
        }
        let range = self.choose(address, bytes, flags, rights)?;
        let backing = file.map_or(Backing::Anonymous, |file| Backing::File {
            name: file.name.clone(),
            bias: file.offset.wrapping_sub(range.start),
        });
        let contents = file.map_or(&[][..], |file| file.contents);
        self.place(
            &range,
            Mapping { rights, shared, read_only, stack: flags & STACK != 0, backing },
            range.start,
            contents,
        )?;
        Ok(range.start)
    }

    /// Maps `range`, of whole pages, for the loader of programs: `data` at `at` and zeros around it.
    ///
    /// # Errors
    /// `EINVAL` if the range isn't one, `ENOMEM` if it has no room or no memory.
    pub fn load(
        &mut self,
        range: &Range<u64>,
        rights: Rights,
        backing: Backing,
        (at, data): (u64, &[u8]),
    ) -> Result<(), Errno> {
        let bytes = range.end.checked_sub(range.start).filter(|bytes| bytes.is_multiple_of(PAGE_BYTES) && *bytes > 0);
        let range = pages_of(range.start, bytes.ok_or(Errno::EINVAL)?)?;
        self.area(&range).ok_or(Errno::ENOMEM)?;
        self.place(&range, Mapping { rights, shared: false, read_only: false, stack: false, backing }, at, &[data])
    }

    /// munmap.
    ///
    /// # Errors
    /// `EINVAL` for no bytes, an unaligned address, or what can't be addresses; `ENOMEM` if there are too many mappings
    /// to cut one in two.
    pub fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        let range = pages_of(address, bytes)?;
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        let cuts = self.mappings.touching(&range).first().is_some_and(|m| m.start < range.start && m.end > range.end);
        if cuts {
            self.admit(0)?;
        }
        self.unmap(&range);
        Ok(())
    }

    /// Puts `pieces` into `range`, whole pages, one after the other, whatever its rights: it shows a file that has changed.
    ///
    /// # Errors
    /// `ENOMEM` if there is no memory for it.
    pub fn show(&mut self, range: &Range<u64>, pieces: &[&[u8]]) -> Result<(), Errno> {
        let parts = self.mappings.within(range).map(|(part, mapping)| (part, mapping.rights));
        let parts: Vec<_> = parts.collect();
        self.store.load(range, range.start, pieces)?;
        parts.into_iter().try_for_each(|(part, rights)| self.store.expose(&part, rights))
    }

    /// Replaces whatever is in `range`, a part of one area.
    fn place(&mut self, range: &Range<u64>, mapping: Mapping, at: u64, contents: &[&[u8]]) -> Result<(), Errno> {
        let replaced: u64 = self.mappings.within(range).map(|(part, _)| part.end - part.start).sum();
        self.admit((range.end - range.start).saturating_sub(replaced))?;
        self.unmap(range);
        let ready = self.store.load(range, at, contents).and_then(|()| self.store.expose(range, mapping.rights));
        if ready.is_ok() {
            self.enter(range, mapping);
        } else {
            self.store.discard(range);
        }
        ready
    }

    /// Where `bytes` go.
    fn choose(&self, address: u64, bytes: u64, flags: u64, rights: Rights) -> Result<Range<u64>, Errno> {
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(Errno::ENOMEM)?;
        if flags & (FIXED | FIXED_NOREPLACE) == 0 {
            let low = flags & LOW != 0;
            let reservation = rights == Rights::None && flags & STACK == 0;
            // A library is a file first, and its calls are jumps, which reach 2 GiB.
            let near = if flags & ANONYMOUS == 0 { self.find(address, bytes, true, false) } else { None };
            return near.or_else(|| self.find(address, bytes, low, reservation)).ok_or(Errno::ENOMEM);
        }
        let end = address.checked_add(bytes).ok_or(Errno::ENOMEM)?;
        if !address.is_multiple_of(PAGE_BYTES) {
            return Err(Errno::EINVAL);
        }
        let range = address..end;
        self.area(&range).ok_or(Errno::ENOMEM)?;
        if flags & FIXED_NOREPLACE != 0 && !self.free(&range) { Err(Errno::EEXIST) } else { Ok(range) }
    }

    /// A free range of `bytes`, whole pages, at `hint` if that is to be had.
    pub(super) fn find(&self, hint: u64, bytes: u64, low: bool, reservation: bool) -> Option<Range<u64>> {
        let mut arena = self.areas.arena.clone();
        if low {
            arena.end = arena.end.min(LOW_END);
            return self.find_in(&arena, hint, bytes);
        }
        let (first, second) = if reservation && bytes > (arena.end - arena.start) / SMALL {
            (&self.areas.reserve, &arena)
        } else {
            (&arena, &self.areas.reserve)
        };
        self.find_in(first, hint, bytes).or_else(|| self.find_in(second, hint, bytes))
    }

    /// The same in one area.
    pub(super) fn find_in(&self, area: &Range<u64>, hint: u64, bytes: u64) -> Option<Range<u64>> {
        let hint = hint / PAGE_BYTES * PAGE_BYTES;
        let hinted = hint.checked_add(bytes).map(|end| hint..end);
        let hinted = hinted.filter(|range| area.start <= range.start && range.end <= area.end && self.free(range));
        hinted.or_else(|| {
            let gap = self.mappings.gaps(area).rev().find(|gap| gap.end - gap.start >= bytes)?;
            Some(gap.end - bytes..gap.end)
        })
    }
}

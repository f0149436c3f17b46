//! madvise and the calls whose answer is the same for all memory that is mapped: msync, mincore, mlock, munlock.

use super::{Backing, PAGE_BYTES, Pages, Space, pages_of};
use crate::errno::Errno;
use alloc::vec::Vec;
use core::ops::Range;
use linux_raw_sys::general as raw;

const DONTNEED: u64 = raw::MADV_DONTNEED as u64;
const DONTNEED_LOCKED: u64 = raw::MADV_DONTNEED_LOCKED as u64;
const REMOVE: u64 = raw::MADV_REMOVE as u64;
/// The last advice that Linux gives the same meaning on all machines, below those for tests of hardware.
const ADVICE_MAX: u64 = raw::MADV_COLLAPSE as u64;
/// Flags of msync: asynchronous, invalidate, synchronous.
const SYNC_FLAGS: u64 = (raw::MS_ASYNC | raw::MS_INVALIDATE | raw::MS_SYNC) as u64;
const SYNC_BOTH: u64 = (raw::MS_ASYNC | raw::MS_SYNC) as u64;

impl<P: Pages> Space<P> {
    /// madvise. `MADV_DONTNEED` zeroes memory that is not a file's; `MADV_FREE` and the rest are only advice. So is it for
    /// what was mapped with `MAP_STACK`: C libraries give it for the whole stack of each thread that ends, to zero which would
    /// touch megabytes, and read nothing there afterwards.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned address or unknown advice, and for `MADV_REMOVE`; `ENOMEM` if not all of it is mapped:
    /// what is mapped has been advised then.
    pub fn madvise(&mut self, address: u64, bytes: u64, advice: u64) -> Result<(), Errno> {
        let range = pages_of(address, bytes)?;
        if advice > ADVICE_MAX || advice == REMOVE {
            return Err(Errno::EINVAL);
        }
        if advice == DONTNEED || advice == DONTNEED_LOCKED {
            let parts =
                self.mappings.within(&range).filter(|(_, m)| !m.stack && !matches!(m.backing, Backing::File { .. }));
            let parts: Vec<_> = parts.map(|(part, mapping)| (part, mapping.rights)).collect();
            for (part, rights) in parts {
                self.store.clear(&part, rights)?;
            }
        }
        self.mapped_all(&range)
    }

    /// msync: nothing to do, since no mapping writes to a file.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned address or bad flags, `ENOMEM` if not all of it is mapped.
    pub fn msync(&self, address: u64, bytes: u64, flags: u64) -> Result<(), Errno> {
        let range = pages_of(address, bytes)?;
        if flags & !SYNC_FLAGS != 0 || flags & SYNC_BOTH == SYNC_BOTH {
            return Err(Errno::EINVAL);
        }
        self.mapped_all(&range)
    }

    /// mincore: all that is mapped is in memory. Returns the pages, for each of which the caller stores a 1.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned address, `ENOMEM` if not all of it is mapped.
    pub fn mincore(&self, address: u64, bytes: u64) -> Result<u64, Errno> {
        let range = pages_of(address, bytes)?;
        self.mapped_all(&range)?;
        Ok((range.end - range.start) / PAGE_BYTES)
    }

    /// mlock, mlock2 and munlock: memory never leaves.
    ///
    /// # Errors
    /// `EINVAL` for what can't be addresses, `ENOMEM` if not all of it is mapped.
    pub fn mlock(&self, address: u64, bytes: u64) -> Result<(), Errno> {
        let start = address / PAGE_BYTES * PAGE_BYTES;
        let bytes = bytes.checked_add(address - start).ok_or(Errno::EINVAL)?;
        self.mapped_all(&pages_of(start, bytes)?)
    }

    fn mapped_all(&self, range: &Range<u64>) -> Result<(), Errno> {
        if self.covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }
}

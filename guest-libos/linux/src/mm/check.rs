//! Whether a program may name a range of memory to a system call. On the way of each call that has a pointer: what was
//! found last is tried first, since most calls are about the buffers of the one before.

use super::{Access, Space};
use crate::errno::Errno;
use core::ops::Range;

impl<P> Space<P> {
    /// Checks that all of `range` is mapped with rights for `access`. An empty range may lie anywhere.
    ///
    /// # Errors
    /// `EFAULT` if it isn't, and for a range that ends below its start.
    #[inline]
    pub fn check(&self, range: &Range<u64>, access: Access) -> Result<(), Errno> {
        let (low, high) = self.found(access).get();
        if (low <= range.start && range.end <= high && range.start <= range.end) || range.start == range.end {
            return Ok(());
        }
        self.search(range, access)
    }

    /// Checks `bytes` from `address` on.
    ///
    /// # Errors
    /// `EFAULT` if not all of them can be accessed.
    #[inline]
    pub fn check_bytes(&self, address: u64, bytes: u64, access: Access) -> Result<(), Errno> {
        let end = address.checked_add(bytes).ok_or(Errno::EFAULT)?;
        self.check(&(address..end), access)
    }

    /// How many bytes from `address` on can be accessed, at most `bytes`: for strings, whose end isn't known.
    pub fn accessible(&self, address: u64, bytes: u64, access: Access) -> u64 {
        let end = address.saturating_add(bytes);
        let reach = match self.check(&(address..end), access) {
            Ok(()) => end,
            // Where the search met an obstacle; 0 if that was at once.
            Err(_) => self.found(access).get().1,
        };
        reach.clamp(address, end) - address
    }

    /// Forgets what was found: a mapping has changed.
    pub(super) fn forget_found(&self) {
        for found in &self.found {
            found.set((0, 0));
        }
    }

    fn found(&self, access: Access) -> &core::cell::Cell<(u64, u64)> {
        &self.found[usize::from(access == Access::Write)]
    }

    /// Searches the mappings, and remembers the accessible ones from the first that the range has a part in.
    fn search(&self, range: &Range<u64>, access: Access) -> Result<(), Errno> {
        let mut found: Option<(u64, u64)> = None;
        for run in self.mappings.from(range.start) {
            let end = found.map_or(range.start, |(_, end)| end);
            if run.start > end || end >= range.end || !run.value.rights.allow(access) {
                break;
            }
            found = Some((found.map_or(run.start, |(low, _)| low), run.end));
        }
        self.found(access).set(found.unwrap_or_default());
        match found {
            Some((_, high)) if range.start < range.end && range.end <= high => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }
}

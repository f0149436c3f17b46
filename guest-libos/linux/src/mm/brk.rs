//! brk: the heap, which grows upwards from the low end of the arena.

use super::{Backing, Mapping, PAGE_BYTES, Pages, Rights, Space};
use crate::errno::Errno;

impl<P: Pages> Space<P> {
    /// brk: moves the end of the heap to `address` if it can, and returns the end. As on Linux it never fails: callers
    /// see that the end is not what they asked for.
    pub fn brk(&mut self, address: u64) -> u64 {
        // Its result says it all: an end that didn't move.
        let _ = self.move_brk(address);
        self.brk
    }

    fn move_brk(&mut self, address: u64) -> Result<(), Errno> {
        let arena = self.areas.arena.clone();
        if address < arena.start || address > arena.end {
            return Err(Errno::ENOMEM);
        }
        // Neither overflows: the arena's end is page-aligned.
        let old_end = self.brk.next_multiple_of(PAGE_BYTES);
        let end = address.next_multiple_of(PAGE_BYTES);
        if end < old_end {
            self.unmap(&(end..old_end));
        } else if end > old_end {
            let more = old_end..end;
            if !self.free(&more) {
                return Err(Errno::ENOMEM);
            }
            self.admit(end - old_end)?;
            self.store.expose(&more, Rights::Write)?;
            self.enter(
                &more,
                Mapping {
                    rights: Rights::Write,
                    shared: false,
                    read_only: false,
                    stack: false,
                    backing: Backing::Heap,
                },
            );
        }
        self.brk = address;
        Ok(())
    }
}

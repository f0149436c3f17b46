//! mremap: grows a mapping where it is, or moves it.
//!
//! A mapping that moves may come to lie over the place it leaves, so that one larger than half of the free memory can
//! still grow: there is no second copy.

use super::{Backing, Mapping, PAGE_BYTES, Pages, Rights, Space, pages_of};
use crate::errno::Errno;
use core::ops::Range;
use linux_raw_sys::general as raw;

const MAY_MOVE: u64 = raw::MREMAP_MAYMOVE as u64;
const FIXED: u64 = raw::MREMAP_FIXED as u64;

impl<P: Pages> Space<P> {
    /// mremap, whose flags may be `MREMAP_MAYMOVE` and `MREMAP_FIXED`; returns the new address.
    ///
    /// # Errors
    /// `EINVAL` for arguments that make no sense (and for no old bytes, which on Linux maps shared memory twice),
    /// `EFAULT` if the old range is not in one mapping, `ENOMEM` if there is no room, and for a file that is to grow.
    pub fn mremap(
        &mut self,
        address: u64,
        old_bytes: u64,
        new_bytes: u64,
        flags: u64,
        target: u64,
    ) -> Result<u64, Errno> {
        let old = pages_of(address, old_bytes)?;
        let bytes = new_bytes.checked_next_multiple_of(PAGE_BYTES).filter(|&bytes| bytes > 0);
        let bytes = bytes.ok_or(Errno::EINVAL)?;
        let fixed = flags & FIXED != 0;
        if old.is_empty() || flags & !(MAY_MOVE | FIXED) != 0 || (fixed && flags & MAY_MOVE == 0) {
            return Err(Errno::EINVAL);
        }
        let target = if fixed { Some(self.target(target, bytes, &old)?) } else { None };
        let found = self.mappings.touching(&old).first().filter(|m| m.start <= old.start && m.end >= old.end);
        let mapping = found.ok_or(Errno::EFAULT)?.value.clone();
        let kept = old.start..old.end.min(old.start.saturating_add(bytes));
        let more = bytes.saturating_sub(old.end - old.start);
        if more > 0 && matches!(mapping.backing, Backing::File { .. }) {
            return Err(Errno::ENOMEM);
        }
        self.admit(more)?;
        if let Some(target) = target {
            self.unmap(&target);
            self.unmap(&(kept.end..old.end));
            return self.move_to(&kept, target, mapping);
        }
        if more == 0 {
            self.unmap(&(kept.end..old.end));
            return Ok(address);
        }
        if self.grow(&old, more, &mapping)? {
            return Ok(address);
        }
        if flags & MAY_MOVE == 0 {
            return Err(Errno::ENOMEM);
        }
        let target = self.find_around(&old, bytes, mapping.rights).ok_or(Errno::ENOMEM)?;
        self.move_to(&old, target, mapping)
    }

    /// The range that `MREMAP_FIXED` names.
    fn target(&self, address: u64, bytes: u64, old: &Range<u64>) -> Result<Range<u64>, Errno> {
        let range = pages_of(address, bytes)?;
        if range.start < old.end && old.start < range.end {
            return Err(Errno::EINVAL);
        }
        self.area(&range).ok_or(Errno::ENOMEM)?;
        Ok(range)
    }

    /// Grows `old` where it is, and says whether there was room.
    fn grow(&mut self, old: &Range<u64>, more: u64, mapping: &Mapping) -> Result<bool, Errno> {
        let Some(end) = old.end.checked_add(more) else { return Ok(false) };
        let tail = old.end..end;
        if self.area(&(old.start..end)).is_none() || !self.free(&tail) {
            return Ok(false);
        }
        self.store.expose(&tail, mapping.rights)?;
        self.enter(&tail, mapping.clone());
        Ok(true)
    }

    /// Room for `bytes`, as if `old` were not mapped.
    fn find_around(&self, old: &Range<u64>, bytes: u64, rights: Rights) -> Option<Range<u64>> {
        if rights == Rights::None {
            return self.find(0, bytes, false, true);
        }
        // A free place is best, copying to it is faster; the reserve is last, where there may be no memory.
        let free = self.find_in(&self.areas.arena, 0, bytes).or_else(|| self.find_over(old, bytes));
        free.or_else(|| self.find_in(&self.areas.reserve, 0, bytes))
    }

    /// Room for `bytes` that has a part of `old`, or all of it.
    fn find_over(&self, old: &Range<u64>, bytes: u64) -> Option<Range<u64>> {
        let area = self.area(old)?;
        let below = self.mappings.gaps(&(area.start..old.start)).next_back().filter(|gap| gap.end == old.start);
        let above = self.mappings.gaps(&(old.end..area.end)).next().filter(|gap| gap.start == old.end);
        let low = below.map_or(old.start, |gap| gap.start);
        let high = above.map_or(old.end, |gap| gap.end);
        (area == &self.areas.arena && high - low >= bytes).then(|| high - bytes..high)
    }

    /// Moves the mapping `old` to the `target`, which is free but for `old` itself.
    fn move_to(&mut self, old: &Range<u64>, target: Range<u64>, mapping: Mapping) -> Result<u64, Errno> {
        let rights = mapping.rights;
        let backing = match mapping.backing {
            Backing::File { name, bias } => {
                Backing::File { name, bias: bias.wrapping_add(old.start).wrapping_sub(target.start) }
            }
            other => other,
        };
        if rights != Rights::None {
            self.store.claim(&target)?;
        }
        self.store.relocate(old, target.start)?;
        self.unmap(&(old.start..old.end.min(target.start.max(old.start))));
        self.unmap(&(old.start.max(target.end.min(old.end))..old.end));
        self.store.expose(&target, rights)?;
        self.enter(&target, Mapping { backing, ..mapping });
        Ok(target.start)
    }
}

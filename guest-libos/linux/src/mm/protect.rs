//! mprotect.

use super::{Mapping, Pages, Rights, Space, pages_of};
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general as raw;

/// Bits of `prot` that extend the range over a mapping that grows; none does.
const GROWS: u64 = (raw::PROT_GROWSDOWN | raw::PROT_GROWSUP) as u64;

impl<P: Pages> Space<P> {
    /// mprotect: one change of rights, however many mappings it spans.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned address or unknown bits, `EACCES` for write with execute or for writing to a shared
    /// file that may not be, `ENOMEM` if not all of it is mapped, or there is no memory for it.
    pub fn mprotect(&mut self, address: u64, bytes: u64, prot: u64) -> Result<(), Errno> {
        let range = pages_of(address, bytes).map_err(|error| {
            // Aligned, but beyond what can be mapped.
            if address.is_multiple_of(super::PAGE_BYTES) { Errno::ENOMEM } else { error }
        })?;
        if prot & GROWS != 0 {
            return Err(Errno::EINVAL);
        }
        let rights = Rights::from_prot(prot)?;
        if !self.covered(&range) {
            return Err(Errno::ENOMEM);
        }
        let others = self.mappings.within(&range).filter(|(_, mapping)| mapping.rights != rights);
        let others: Vec<_> = others.map(|(part, mapping)| (part, mapping.clone())).collect();
        if rights == Rights::Write && others.iter().any(|(_, mapping)| mapping.read_only) {
            return Err(Errno::EACCES);
        }
        let (Some((first, _)), Some((last, _))) = (others.first(), others.last()) else { return Ok(()) };
        self.admit(0)?;
        self.store.expose(&(first.start..last.end), rights)?;
        for (part, mapping) in others {
            self.enter(&part, Mapping { rights, ..mapping });
        }
        Ok(())
    }
}

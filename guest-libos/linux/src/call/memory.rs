//! Calls that map memory.

use super::{Answer, Machine, Process};
use crate::{
    elf,
    errno::Errno,
    mm::{File, PAGE_BYTES, Request, Rights},
    rewrite::Functions,
};
use alloc::string::String;
use linux_raw_sys::general as abi;

/// Most bytes of the name of a mapped file in `/proc/self/maps`.
const NAME_BYTES: usize = 255;

impl<M: Machine> Process<M> {
    pub(super) fn mmap(&mut self, arguments: [u64; 6]) -> Answer {
        let [address, bytes, prot, flags, ..] = arguments;
        if flags as u32 & abi::MAP_FIXED != 0 && !self.shared.is_empty() {
            self.bring_part_back(address, bytes);
            // What it replaces may be gone also if it fails.
            self.unshare(address, bytes);
        }
        if flags as u32 & abi::MAP_ANONYMOUS == 0 {
            return self.map_file(arguments);
        }
        Ok(self.space.mmap(&Request { address, bytes, prot, flags, file: None })?)
    }

    pub(super) fn munmap(&mut self, address: u64, bytes: u64) -> Answer {
        if self.shared.is_empty() {
            return Ok(self.space.munmap(address, bytes).map(|()| 0)?);
        }
        self.bring_part_back(address, bytes);
        self.space.munmap(address, bytes)?;
        self.unshare(address, bytes);
        Ok(0)
    }

    pub(super) fn mprotect(&mut self, address: u64, bytes: u64, prot: u64) -> Answer {
        if !self.shared.is_empty() {
            self.change_shared(address, bytes, Rights::from_prot(prot)? == Rights::Write)?;
        }
        Ok(self.space.mprotect(address, bytes, prot).map(|()| 0)?)
    }

    /// What is shared of a file neither grows nor moves: it becomes smaller, or is `ENOMEM`.
    pub(super) fn mremap(&mut self, [address, old, new, flags, target]: [u64; 5]) -> Answer {
        let fixed = flags as u32 & abi::MREMAP_FIXED != 0;
        if self.shares(address, old) && (fixed || new > old) {
            return Err(Errno::ENOMEM.into());
        }
        if fixed {
            self.bring_part_back(target, new);
        }
        self.bring_part_back(address, old);
        let there = self.space.mremap(address, old, new, flags, target)?;
        if fixed {
            self.unshare(target, new);
        }
        if let Some(gone) = old.checked_sub(new) {
            let kept = new.next_multiple_of(PAGE_BYTES);
            self.unshare(address.saturating_add(kept), gone);
        }
        Ok(there)
    }

    fn map_file(&mut self, [address, bytes, prot, flags, descriptor, offset]: [u64; 6]) -> Answer {
        let descriptor = descriptor as i32;
        if !offset.is_multiple_of(PAGE_BYTES) || offset.checked_add(bytes).is_none() {
            return Err(Errno::EINVAL.into());
        }
        let shared = flags as u32 & abi::MAP_TYPE != abi::MAP_PRIVATE;
        let written = shared && Rights::from_prot(prot)? == Rights::Write;
        // What other mappings stored in the file is what this one shows.
        self.bring_all_back();
        let writable = shared && self.files.maps_for_writing(descriptor);
        if shared && (writable || !written) && self.contradicts(descriptor, offset, bytes, written) {
            return Err(Errno::ENODEV.into());
        }
        if written && writable {
            self.files.reserve(descriptor, offset, bytes)?;
        }
        let whole = usize::try_from(bytes).ok().filter(|_| bytes <= self.space.memory()).ok_or(Errno::ENOMEM)?;
        let Some(pieces) = self.files.mapping(descriptor, offset, whole, written)? else {
            let flags = flags | u64::from(abi::MAP_ANONYMOUS);
            return Ok(self.space.mmap(&Request { address, bytes, prot, flags, file: None })?);
        };
        let path = self.files.describe(descriptor)?;
        // Of a long one the end, so that many mappings take little.
        let name = String::from_utf8_lossy(&path[path.len().saturating_sub(NAME_BYTES)..]).as_ref().into();
        // Of other code nobody knows yet where it will lie.
        let code = prot as u32 & abi::PROT_EXEC != 0 && flags as u32 & abi::MAP_FIXED != 0;
        let functions = match self.files.packed(descriptor).filter(|_| code) {
            Some(file) => elf::mapped_functions(file, offset, address),
            None => Functions::unknown(),
        };
        self.space.pages().expect_code(functions);
        let file = Some(File { name, offset, contents: &pieces, writable });
        let address = self.space.mmap(&Request { address, bytes, prot, flags, file })?;
        if shared {
            self.share(descriptor, address, bytes, offset, written);
        }
        Ok(address)
    }

    /// All that is mapped has memory.
    pub(super) fn mincore(&mut self, address: u64, bytes: u64, residence: u64) -> Answer {
        let pages = self.space.mincore(address, bytes)?;
        self.output(residence, pages)?.fill(1);
        Ok(0)
    }

    /// FS is the thread's: its library keeps what is local to a thread there. GS is nobody's.
    pub(super) fn arch_prctl(&mut self, code: u64, address: u64) -> Answer {
        const SET_GS: u64 = 0x1001;
        const SET_FS: u64 = 0x1002;
        const GET_FS: u64 = 0x1003;
        match code {
            SET_FS if address >> 47 == 0 => {
                self.space.pages().set_fs_base(address);
                Ok(0)
            }
            GET_FS => {
                let base = self.space.pages().fs_base();
                self.put(address, &[base])
            }
            SET_FS | SET_GS => Err(Errno::EPERM.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }
}

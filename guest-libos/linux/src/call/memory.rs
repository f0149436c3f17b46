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

impl<M: Machine> Process<M> {
    pub(super) fn mmap(&mut self, arguments: [u64; 6]) -> Answer {
        let [address, bytes, prot, flags, ..] = arguments;
        if flags as u32 & abi::MAP_ANONYMOUS == 0 {
            return self.map_file(arguments);
        }
        Ok(self.space.mmap(&Request { address, bytes, prot, flags, file: None })?)
    }

    fn map_file(&mut self, [address, bytes, prot, flags, descriptor, offset]: [u64; 6]) -> Answer {
        let descriptor = descriptor as i32;
        if !offset.is_multiple_of(PAGE_BYTES) || offset.checked_add(bytes).is_none() {
            return Err(Errno::EINVAL.into());
        }
        let shared = flags as u32 & abi::MAP_TYPE != abi::MAP_PRIVATE && Rights::from_prot(prot)? == Rights::Write;
        let whole = usize::try_from(bytes).ok().filter(|_| bytes <= self.space.memory()).ok_or(Errno::ENOMEM)?;
        let Some(pieces) = self.files.mapping(descriptor, offset, whole, shared)? else {
            let flags = flags | u64::from(abi::MAP_ANONYMOUS);
            return Ok(self.space.mmap(&Request { address, bytes, prot, flags, file: None })?);
        };
        let path = self.files.describe(descriptor)?;
        let name = String::from_utf8_lossy(&path).as_ref().into();
        // Of other code nobody knows yet where it will lie.
        let code = prot as u32 & abi::PROT_EXEC != 0 && flags as u32 & abi::MAP_FIXED != 0;
        let functions = match self.files.packed(descriptor).filter(|_| code) {
            Some(file) => elf::mapped_functions(file, offset, address),
            None => Functions::unknown(),
        };
        self.space.pages().expect_code(functions);
        let file = Some(File { name, offset, contents: &pieces });
        Ok(self.space.mmap(&Request { address, bytes, prot, flags, file })?)
    }

    /// Whether a range is all mapped: `msync`, `mlock` and others have nothing else to do.
    pub(super) fn mapped(&mut self, address: u64, bytes: u64) -> Answer {
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(Errno::ENOMEM)?;
        if !address.is_multiple_of(PAGE_BYTES) {
            return Err(Errno::EINVAL.into());
        }
        if self.space.is_mapped(address, bytes) { Ok(0) } else { Err(Errno::ENOMEM.into()) }
    }

    /// All that is mapped has memory.
    pub(super) fn mincore(&mut self, address: u64, bytes: u64, residence: u64) -> Answer {
        self.mapped(address, bytes)?;
        self.output(residence, bytes.div_ceil(PAGE_BYTES))?.fill(1);
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

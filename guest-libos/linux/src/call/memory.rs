//! Calls that map memory.

use super::{Answer, Machine, Process};
use crate::{errno::Errno, mm::Request};

impl<M: Machine> Process<M> {
    pub(super) fn mmap(&mut self, [address, bytes, prot, flags, _descriptor, _offset]: [u64; 6]) -> Answer {
        Ok(self.space.mmap(&Request { address, bytes, prot, flags, file: None })?)
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
            SET_FS => Err(Errno::EPERM.into()),
            GET_FS => {
                let base = self.space.pages().fs_base();
                self.put(address, &[base])
            }
            SET_GS => Err(Errno::EPERM.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }
}

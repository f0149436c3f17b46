//! Calls about who and where the program is.

use super::{Answer, Machine, Process};
use crate::errno::Errno;

/// The one process.
pub(super) const PROCESS: u64 = 1;
/// The one user and group: an ordinary one.
pub(super) const USER: u64 = 1000;

/// Bytes of each field of `struct utsname`.
const NAME_BYTES: usize = 65;

/// What `uname` says: a version whose calls programs may expect.
const NAMES: [&str; 6] = ["Linux", "denali", "6.1.0-denali", "#1 Denali", "x86_64", "(none)"];

/// `RLIM_INFINITY`, and the limits that are finite: number, value.
const INFINITY: u64 = u64::MAX;
const STACK: u64 = 3;
const FILES: u64 = 7;

/// Bytes of the first thread's stack.
pub const STACK_BYTES: u64 = 1 << 20;
/// Open files.
const FILES_MOST: u64 = 1024;

/// Most bytes of one `getrandom`, as on Linux.
const RANDOM_MOST: u64 = 33_554_431;

impl<M: Machine> Process<M> {
    pub(super) fn uname(&mut self, address: u64) -> Answer {
        let out = self.output(address, (NAMES.len() * NAME_BYTES) as u64)?;
        out.fill(0);
        for (field, name) in out.chunks_exact_mut(NAME_BYTES).zip(NAMES) {
            field[..name.len()].copy_from_slice(name.as_bytes());
        }
        Ok(0)
    }

    /// There is one CPU.
    pub(super) fn sched_getaffinity(&mut self, bytes: u64, address: u64) -> Answer {
        if bytes < 8 || !bytes.is_multiple_of(8) {
            return Err(Errno::EINVAL.into());
        }
        self.put(address, &[1])?;
        Ok(8)
    }

    pub(super) fn prlimit64(&mut self, resource: u64, new: u64, old: u64) -> Answer {
        let limit = match resource {
            STACK => STACK_BYTES,
            FILES => FILES_MOST,
            0..16 => INFINITY,
            _ => return Err(Errno::EINVAL.into()),
        };
        if new != 0 {
            let [soft, hard] = self.get(new)?;
            if soft > hard {
                return Err(Errno::EINVAL.into());
            }
        }
        if old == 0 { Ok(0) } else { self.put(old, &[limit, limit]) }
    }

    pub(super) fn getrandom(&mut self, address: u64, bytes: u64) -> Answer {
        let bytes = bytes.min(RANDOM_MOST);
        self.output(address, bytes)?;
        let mut piece = [0; 256];
        let mut at = address;
        while at < address + bytes {
            let count = (address + bytes - at).min(piece.len() as u64);
            let piece = &mut piece[..count as usize];
            self.space.pages().random(piece);
            self.output(at, count)?.copy_from_slice(piece);
            at += count;
        }
        Ok(bytes)
    }
}

//! What may be done with pages.

use crate::errno::Errno;
use linux_raw_sys::general as raw;

/// The rights of pages. None are both writable and executable: the Denali VM has no such pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rights {
    /// No access.
    #[default]
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

/// What someone wants to do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Write it.
    Write,
}

impl Rights {
    /// From the `prot` of a system call. As on x86, what can be written or executed can be read.
    ///
    /// # Errors
    /// `EINVAL` for unknown bits; `EACCES` for write with execute, which a hardened Linux answers too, so that programs
    /// that can do without take their other path.
    pub fn from_prot(prot: u64) -> Result<Self, Errno> {
        const READ: u64 = raw::PROT_READ as u64;
        const WRITE: u64 = raw::PROT_WRITE as u64;
        const EXECUTE: u64 = raw::PROT_EXEC as u64;
        // For atomic operations: means nothing on x86.
        const ATOMIC: u64 = raw::PROT_SEM as u64;
        match prot & !ATOMIC {
            0 => Ok(Self::None),
            READ => Ok(Self::Read),
            bits if bits & !(READ | WRITE | EXECUTE) != 0 => Err(Errno::EINVAL),
            bits if bits & WRITE == 0 => Ok(Self::Execute),
            bits if bits & EXECUTE == 0 => Ok(Self::Write),
            _ => Err(Errno::EACCES),
        }
    }

    /// As bits: 1 read, 2 write, 4 execute. Linux and the PROTECT instruction of the Denali VM agree on them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Read => 1,
            Self::Write => 3,
            Self::Execute => 5,
        }
    }

    /// Whether they allow `access`.
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => !matches!(self, Self::None),
            Access::Write => matches!(self, Self::Write),
        }
    }
}

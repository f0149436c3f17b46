//! Page tables: guest memory where it is, and the supervisor slot far above it; in pages of 4 KiB, with each page's rights.
//!
//! Accessed and dirty bits are set from the start, so that the CPU never writes to a table that VMs share.

use super::layout::{PD_SPAN, PDPT, PML4, PT_SPAN, STUBS, SUPERVISOR_PD, Tables, USER_STUBS, at, physical};
use denali_abi::{
    instruction::{RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE},
    memory::PAGE_BYTES,
};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A bit that CPUs ignore, here of entries that are not present: a page that PROTECT moved away, or moved here without rights.
const MOVED: u64 = 1 << 9;

/// The entry at a page's own address while it is in the window.
pub(crate) const AWAY: u64 = MOVED;

/// What a guest may do with a page. Never write and execute together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Nothing: it is not mapped.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

/// The rights ask for writing and executing together, or for something unknown.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("rights {bits:#x}: write and execute exclude each other, and no others exist than read 1, write 2, execute 4")]
pub struct RightsError {
    bits: u64,
}

impl Rights {
    /// The rights of the bits that PROTECT takes.
    ///
    /// # Errors
    /// For write and execute together, and for unknown bits.
    pub fn from_bits(bits: u64) -> Result<Self, RightsError> {
        const WRITABLE: u64 = RIGHT_READ | RIGHT_WRITE;
        const EXECUTABLE: u64 = RIGHT_READ | RIGHT_EXECUTE;
        match bits {
            0 => Ok(Self::None),
            RIGHT_READ => Ok(Self::Read),
            RIGHT_WRITE | WRITABLE => Ok(Self::Write),
            RIGHT_EXECUTE | EXECUTABLE => Ok(Self::Execute),
            _ => Err(RightsError { bits }),
        }
    }

    /// The page table entry of the page at `address` with these rights.
    pub(crate) fn entry(self, address: u64) -> u64 {
        let base = address | PRESENT | USER | ACCESSED_DIRTY;
        match self {
            Self::None => 0,
            Self::Read => base | NO_EXECUTE,
            Self::Write => base | WRITE | NO_EXECUTE,
            Self::Execute => base,
        }
    }
}

/// The entry of the page at guest-physical `page` where the window shows it. Without rights it still says which page it is,
/// inverted: a CPU may speculate on the address of an entry that is not present (L1TF).
pub(crate) fn window_entry(rights: Rights, page: u64) -> u64 {
    match rights {
        Rights::None => page ^ ADDRESS | MOVED,
        rights => rights.entry(page),
    }
}

/// The guest-physical page that an entry of the window shows.
pub(crate) fn window_page(entry: u64) -> Option<u64> {
    match entry {
        0 => None,
        entry if entry & PRESENT != 0 => Some(entry & ADDRESS),
        entry => Some(entry & ADDRESS ^ ADDRESS),
    }
}

/// The entry of a table, at guest-physical `address`. Rights are decided by the last level.
pub(crate) fn table_entry(address: u64) -> u64 {
    address | PRESENT | WRITE | USER | ACCESSED_DIRTY
}

/// The guest-physical table that an entry leads to.
pub(crate) fn table_of(entry: u64) -> Option<u64> {
    (entry & PRESENT != 0).then_some(entry & ADDRESS)
}

/// What a page table entry lets a guest do with its page; nothing for a page of the VMM's own.
pub(crate) fn rights(entry: u64) -> Rights {
    match entry {
        _ if entry & (PRESENT | USER) != PRESENT | USER => Rights::None,
        _ if entry & WRITE != 0 => Rights::Write,
        _ if entry & NO_EXECUTE == 0 => Rights::Execute,
        _ => Rights::Read,
    }
}

/// Writes all tables into `slot`, the part of a supervisor slot that an image fills: the slot itself for CPL 0 alone, and guest memory
/// unmapped but for `ranges` of (start, end, rights), all page-aligned and inside `memory_bytes`.
pub(crate) fn write(slot: &mut [u8], memory_bytes: u64, ranges: &[(u64, u64, Rights)]) {
    let tables = Tables::of(memory_bytes);
    let mut put = |offset: u64, value: u64| {
        slot[offset as usize..offset as usize + 8].copy_from_slice(&value.to_le_bytes());
    };
    // A supervisor page stays one because its own entry lacks USER.
    let table = |offset: u64| table_entry(physical(memory_bytes, offset));

    put(PML4, table(PDPT));
    put(PDPT + at(0) / PD_SPAN * 8, table(SUPERVISOR_PD));
    for n in 0..tables.supervisor_pts {
        put(SUPERVISOR_PD + n * 8, table(Tables::supervisor_pt(n)));
    }
    for offset in (0..tables.bytes()).step_by(PAGE_BYTES as usize) {
        let rights = match offset {
            STUBS => 0,
            USER_STUBS => USER,
            _ => WRITE | NO_EXECUTE,
        };
        let page = physical(memory_bytes, offset) | PRESENT | ACCESSED_DIRTY;
        put(TABLE_OF_SLOT + offset / PAGE_BYTES * 8, page | rights);
    }
    for n in 0..tables.guest_pds {
        put(PDPT + n * 8, table(tables.guest_pd(n)));
    }
    for n in 0..tables.guest_pts {
        put(tables.guest_pd(0) + n * 8, table(tables.guest_pt(n)));
    }
    for &(start, end, rights) in ranges {
        for page in (start..end).step_by(PAGE_BYTES as usize) {
            put(tables.guest_pte(page), rights.entry(page));
        }
    }
}

/// First page table of the slot: consecutive tables make one long table.
const TABLE_OF_SLOT: u64 = super::layout::TABLES;

const _: () = assert!(PD_SPAN / PT_SPAN == 512);

#[cfg(test)]
mod tests;

//! The VMM's own pages: where each table lies in the supervisor slot. The guest can neither read nor write them.
//!
//! Offsets are from [`denali_abi::memory::SUPERVISOR_BASE`] for the CPU; in guest-physical memory the slot follows guest memory,
//! so that KVM has one piece of memory to know of.

use denali_abi::memory::{PAGE_BYTES, SUPERVISOR_BASE, WINDOW_TABLES_MIN};

/// Global descriptor table: seven entries.
pub(crate) const GDT: u64 = 0;
/// Interrupt descriptor table: 32 gates of 16 bytes.
pub(crate) const IDT: u64 = 0x1000;
/// Task state segment with a permission bit for each of 65,536 ports, and the byte of ones that ends them.
pub(crate) const TSS: u64 = 0x2000;
/// Bytes of the TSS: 104, the bitmap, the last byte.
pub(crate) const TSS_BYTES: u64 = 104 + 8192 + 1;
/// The stubs: the only executable supervisor page.
pub(crate) const STUBS: u64 = 0x5000;
/// Stack of the fault stubs; grows down from [`EXCEPTION_STACK_TOP`].
pub(crate) const EXCEPTION_STACK: u64 = 0x6000;
/// Its top.
pub(crate) const EXCEPTION_STACK_TOP: u64 = EXCEPTION_STACK + PAGE_BYTES;
/// Page table entries on their way into a page table, see [`super::stubs::PROTECT_STUB`].
pub(crate) const STAGING: u64 = 0x7000;
/// Root of the page tables.
pub(crate) const PML4: u64 = 0x8000;
/// The one page directory pointer table.
pub(crate) const PDPT: u64 = 0x9000;
/// Page directory of the supervisor slot itself.
pub(crate) const SUPERVISOR_PD: u64 = 0xa000;
/// Code that runs at CPL 3, see [`super::stubs::TOUCH_STUB`]: the only page here that a guest can see. It can't change it.
pub(crate) const USER_STUBS: u64 = 0xb000;
/// Page tables of the supervisor slot, then the guest's page directories, then the guest's page tables, then the window's tables.
pub(crate) const TABLES: u64 = 0xc000;

/// Guest memory that one page directory maps.
pub(crate) const PD_SPAN: u64 = 1 << 30;
/// Guest memory that one page table maps.
pub(crate) const PT_SPAN: u64 = 2 << 20;

/// Kernel code segment.
pub(crate) const KERNEL_CODE: u16 = 0x08;
/// Kernel data segment.
pub(crate) const KERNEL_DATA: u16 = 0x10;
/// User data segment, privilege level 3.
pub(crate) const USER_DATA: u16 = 0x18 | 3;
/// User code segment, privilege level 3.
pub(crate) const USER_CODE: u16 = 0x20 | 3;
/// Task state segment: two entries.
pub(crate) const TASK: u16 = 0x28;
/// Bytes of the GDT.
pub(crate) const GDT_BYTES: u64 = 0x38;

/// How the supervisor slot of a VM with `memory_bytes` is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Number of page tables for the supervisor slot.
    pub(crate) supervisor_pts: u64,
    /// Number of page directories for guest memory.
    pub(crate) guest_pds: u64,
    /// Number of page tables for guest memory.
    pub(crate) guest_pts: u64,
    /// Number of tables, of all levels, for the window.
    pub(crate) window_tables: u64,
}

impl Tables {
    /// The division for `memory_bytes` of guest memory, at most [`denali_abi::memory::MEMORY_BYTES_MAX`].
    pub(crate) fn of(memory_bytes: u64) -> Self {
        let guest_pds = memory_bytes.div_ceil(PD_SPAN);
        let guest_pts = memory_bytes.div_ceil(PT_SPAN);
        // The supervisor's own page tables map themselves too: 512 tables are more than 16 GiB ever need.
        let window_tables = WINDOW_TABLES_MIN + guest_pts;
        let others = TABLES + (guest_pds + guest_pts + window_tables) * PAGE_BYTES;
        let supervisor_pts = (others + 512 * PAGE_BYTES).div_ceil(PT_SPAN);
        Self { supervisor_pts, guest_pds, guest_pts, window_tables }
    }

    /// Offset of the `n`-th page table of the supervisor slot.
    pub(crate) fn supervisor_pt(n: u64) -> u64 {
        TABLES + n * PAGE_BYTES
    }

    /// Offset of the `n`-th page directory of guest memory.
    pub(crate) fn guest_pd(&self, n: u64) -> u64 {
        TABLES + (self.supervisor_pts + n) * PAGE_BYTES
    }

    /// Offset of the `n`-th page table of guest memory.
    pub(crate) fn guest_pt(&self, n: u64) -> u64 {
        TABLES + (self.supervisor_pts + self.guest_pds + n) * PAGE_BYTES
    }

    /// Offset of the page table entry of a guest address.
    pub(crate) fn guest_pte(&self, address: u64) -> u64 {
        let page = address / PAGE_BYTES;
        self.guest_pt(page / 512) + (page % 512) * 8
    }

    /// Offset of the `n`-th table of the window.
    pub(crate) fn window_table(&self, n: u64) -> u64 {
        TABLES + (self.supervisor_pts + self.guest_pds + self.guest_pts + n) * PAGE_BYTES
    }

    /// Bytes of the slot that an image fills: all but the window's tables.
    pub(crate) fn filled_bytes(&self) -> u64 {
        self.window_table(0)
    }

    /// Bytes of the whole slot.
    pub(crate) fn bytes(&self) -> u64 {
        self.window_table(self.window_tables)
    }
}

/// The address of an offset.
pub(crate) const fn at(offset: u64) -> u64 {
    SUPERVISOR_BASE + offset
}

/// The guest-physical address of an offset, with so much guest memory.
pub(crate) const fn physical(memory_bytes: u64, offset: u64) -> u64 {
    memory_bytes + offset
}

const _: () = {
    assert!(TSS + TSS_BYTES <= STUBS);
    assert!(SUPERVISOR_BASE.is_multiple_of(PD_SPAN), "one PDPT entry starts the supervisor slot");
};

#[cfg(test)]
mod tests;

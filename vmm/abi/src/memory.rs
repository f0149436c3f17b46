//! The address map. Guest-virtual equals guest-physical, but for the window.
//!
//! ```text
//! 0x0000_0000_0000  never mapped: a null pointer faults
//! 0x0000_0000_1000  virtual registers, read-only          (registers::VirtualRegisters)
//! 0x0000_0000_2000  control page, read-write              (registers::Control)
//! 0x0000_0000_3000  never mapped: the guard below the stack
//! 0x0000_0010_0000  stack, read-write, grows down from STACK_TOP
//! 0x0000_0020_0000  image: the ELF's segments, each with its rights, none writable and executable
//!                   modules: the bundle's files and their table, read-only
//!                   rings: transmit, then receive, read-write
//!                   heap, read-write, to the end of memory
//! 0x0040_0000_0000  the VMM's own pages: no guest access
//! 0x0100_0000_0000  window: nothing, until PROTECT moves pages of the heap there
//! 0x0200_0000_0000  its end
//! ```

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// The page of [`crate::registers::VirtualRegisters`].
pub const REGISTERS: u64 = 0x1000;

/// The page of [`crate::registers::Control`].
pub const CONTROL: u64 = 0x2000;

/// Lowest address of the stack. Everything between the control page and here is a guard that is never mapped.
pub const STACK_BOTTOM: u64 = 0x10_0000;

/// The stack pointer at entry: 1 MiB above [`STACK_BOTTOM`].
pub const STACK_TOP: u64 = 0x20_0000;

/// Lowest address that an image may occupy.
pub const IMAGE_BASE: u64 = 0x20_0000;

/// Smallest memory of a VM, in bytes.
pub const MEMORY_BYTES_MIN: u64 = 4 << 20;

/// Largest memory of a VM, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 16 << 30;

/// First address above all guest memory: the VMM's own pages start here, at 256 GiB.
pub const SUPERVISOR_BASE: u64 = 0x40_0000_0000;

/// First address of the window, to which [`crate::instruction::PROTECT`] moves pages.
pub const WINDOW_START: u64 = 1 << 40;

/// End of the window, which is 1 TiB.
pub const WINDOW_END: u64 = 2 << 40;

/// Page tables that there are for the window beside one for each 2 MiB of memory. Where a guest uses it one needs one for each
/// 2 MiB of addresses, one for each 1 GiB, and one for each 512 GiB.
pub const WINDOW_TABLES_MIN: u64 = 256;

/// One entry of the module table: a file of the bundle, read-only in guest memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// Address of the name: UTF-8, no terminator.
    pub name: u64,
    /// Bytes of the name.
    pub name_bytes: u64,
    /// Address of the contents, page-aligned.
    pub data: u64,
    /// Bytes of the contents.
    pub data_bytes: u64,
}

const _: () = {
    assert!(size_of::<Module>() == 32);
    assert!(STACK_TOP - STACK_BOTTOM == 1 << 20 && STACK_TOP <= IMAGE_BASE);
    assert!(CONTROL == REGISTERS + PAGE_BYTES && CONTROL + PAGE_BYTES < STACK_BOTTOM);
    assert!(IMAGE_BASE < MEMORY_BYTES_MIN && MEMORY_BYTES_MAX < SUPERVISOR_BASE);
    assert!(SUPERVISOR_BASE < WINDOW_START && WINDOW_START < WINDOW_END && WINDOW_END <= 1 << 47);
};

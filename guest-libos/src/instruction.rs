//! The virtual instructions.

use core::arch::asm;
use denali_abi::instruction::{CHECKPOINT, IDLE, KICK, PAGES_IN_PLACE, PROTECT, TERMINATE};

/// IDLE: gives up the CPU until something happens or the VM's clock reaches `until_ns`.
pub fn idle(until_ns: u64) {
    // SAFETY: IDLE changes no memory of this program other than rings and registers, which are accessed atomically or
    // after a position was read, and no register but RAX.
    unsafe {
        asm!("out {port}, eax", port = const IDLE, in("rdi") until_ns, lateout("rax") _, options(nostack));
    }
}

/// TERMINATE: ends the VM.
pub fn terminate(status: u64) -> ! {
    // SAFETY: TERMINATE does not return; if it did, `ud2` would end the VM.
    unsafe { asm!("out {port}, eax", "ud2", port = const TERMINATE, in("rdi") status, options(noreturn, nostack)) }
}

/// KICK: tells the VMM that the transmit ring has work.
pub fn kick() {
    // SAFETY: KICK changes no register; the VMM reads memory that was published before (the asm is a compiler barrier).
    unsafe { asm!("out {port}, eax", port = const KICK, in("eax") 0, options(nostack)) }
}

/// PROTECT: changes the rights of whole pages, see [`denali_abi::instruction::PROTECT`].
///
/// # Safety
/// The program must be able to live with the pages' new rights: no reference may be used against them.
pub unsafe fn protect(address: u64, bytes: u64, rights: u64) {
    // SAFETY: by the caller's promise; no register but RAX is changed.
    unsafe {
        asm!("out {port}, eax", port = const PROTECT, in("rdi") address, in("rsi") bytes, in("rdx") rights,
             in("r10") PAGES_IN_PLACE, lateout("rax") _, options(nostack));
    }
}

/// PROTECT: moves pages of the heap to the window, or back; see [`denali_abi::instruction::PROTECT`]. Gives how many bytes, at
/// the end, were not moved for want of page tables.
///
/// # Safety
/// The program must be able to live without the pages where they are before: no reference may be used that leads there.
pub unsafe fn move_pages(address: u64, bytes: u64, rights: u64, pages: u64) -> u64 {
    let left;
    // SAFETY: by the caller's promise; no register but RAX is changed.
    unsafe {
        asm!("out {port}, eax", port = const PROTECT, in("rdi") address, in("rsi") bytes, in("rdx") rights,
             in("r10") pages, lateout("rax") left, options(nostack));
    }
    left
}

/// CHECKPOINT: a good place for a copy of this VM.
pub fn checkpoint() {
    // SAFETY: as for IDLE.
    unsafe { asm!("out {port}, eax", port = const CHECKPOINT, lateout("rax") _, options(nostack)) }
}

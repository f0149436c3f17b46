//! The image in which programs for Linux run: the glue between a Denali VM and [`denali_linux`].
#![no_std]
#![no_main]

extern crate alloc;

mod bundle;
mod cpuid;
mod entry;
mod extended;
mod fault;
mod load;
mod machine;
mod process;
mod report;
mod stubs;
mod vdso;
mod world;

use denali_guest::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    denali_guest::entry::panicked(info)
}

/// The status of a library OS that does not know the VMM's version of the contract.
const STATUS_INCOMPATIBLE: u64 = 125;

/// The part of the memory that the library OS keeps for itself: files that are written, threads, tables.
const OWN: u64 = 8;

extern "C" fn enter() -> ! {
    if !denali_guest::vreg::compatible() {
        denali_guest::instruction::terminate(STATUS_INCOMPATIBLE);
    }
    let registers = denali_guest::vreg::read();
    // SAFETY: nothing ran before, so no one uses the memory, and it is claimed this once.
    let rest = unsafe { HEAP.claim((registers.memory_bytes - registers.heap_start) / OWN) };
    process::run(rest)
}

/// The entry point: the stack pointer is at the stack's top, and all else is zero.
// SAFETY: the linker script names `_start` as the entry, and no other function has that name.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "call {enter}", "ud2", enter = sym enter)
}

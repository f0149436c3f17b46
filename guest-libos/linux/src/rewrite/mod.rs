//! Makes system calls and CPUID function calls: finds their instructions in a program's code and replaces them by jumps.
//!
//! Called by the loader for each executable segment, and again when a range becomes executable. Pure: bytes in, [`plan`] out; the caller
//! writes patches and stubs under its own discipline of access rights, before any thread runs the code.
//!
//! # What is replaced
//! A `jmp` has 5 bytes, `syscall` and `cpuid` have 2. So an instruction of at least 5 bytes before it becomes the jump, most often the
//! `mov` of the call's number; the stub does what was displaced. The trap itself stays: who jumps to it still traps. If there is none, several
//! instructions around the trap are displaced together, but only in a function that is known as a whole, where no jump lands between them.
//! What can't be replaced safely still traps, which is slow and right, and is in the [`Report`].
//!
//! Handlers of signals return to code of nine known bytes, `mov $15, %rax; syscall`. Unwinders know it by an entry in the unwind tables,
//! as glibc has it, or else by these bytes, as with musl. Where there is an entry, or the program is Go's, the bytes may change.
//!
//! Most of what is left in widespread libraries never runs. Debian 12's libcrypto 3.0 has four pairs that are `Unsure`: all lie in its table of
//! multiples of the generator of P-256, 148 KiB of constants among code. musl's libc.so has three `ComputedJump`: they are calls of
//! the child that `posix_spawn` makes, each with 3 bytes before it, in a function with a `switch`.
//!
//! # Contract of handlers
//! A handler is entered by a jump, with the stack pointer of the program and nothing on the stack. It must not write there: the 128 bytes
//! below it are in use (the *red zone*, System V ABI).
//! - **`syscall`**: rcx = the address to continue at, and nothing is known of r11. All else is as the program set it. At the end: rax = result; rcx
//!   and r11 free; all else, flags too, as before; `jmp *%rcx`.
//! - **`cpuid`**: rdx = the address to continue at; rbx is free; eax and ecx are CPUID's input. CPUID overwrites all four and reads neither rbx nor
//!   rdx, so this costs the program nothing. At the end: eax, ebx, ecx, edx = result, upper halves zero; all else, flags too, as
//!   before. No register is left for the address then: the handler keeps it in a word at a fixed address, `jmp *word(%rip)`.
//!
//! **Atomicity.** Such fixed words (the program's stack pointer, the address to continue at) are one a virtual CPU. So from the handler's
//! first instruction to its last jump no other thread may run: an upcall that interrupts it is only noted. The stubs themselves hold
//! no state outside of registers: one that is interrupted, or faults in a displaced instruction, is resumed where it stopped, in
//! whatever order with others. A signal frame shows [`Origins::original`]; on return from it, [`Origins::resume`] tells where that
//! goes on. A thread's rcx after a call is an address in a stub if instructions after the trap were displaced, else the program's own.
//!
//! # Limits
//! - Where several instructions are displaced, code could still come in between by a way that is not seen: a landing pad of an exception in the
//!   middle of straight code, or a table of jumps in another function. Neither is looked for.
//! - Data in a text whose sections are not told may be taken for code: of random bytes, one in 300 of the pairs that look like a trap.
//! - Without any table of functions, texts beyond 1 MiB have only those sites patched where one instruction is displaced: 93 of 100.
//! - Code that threads run already must be stopped outside of the bytes that are overwritten.
//!
//! # Hostile input
//! Work is bounded by a small multiple of the text's size: each function is decoded at most once, each candidate by a constant. Wrong
//! facts or odd code break the program that they came with, and nothing else.

mod branches;
mod functions;
mod gotable;
mod inferred;
mod origins;
mod plan;
mod report;
mod scan;
mod shape;
mod step;
mod stub;
mod surroundings;
mod sweep;
mod text;
mod unwind;

use alloc::vec::Vec;

pub use functions::Functions;
pub use origins::Origins;
pub use plan::plan;
pub use report::{Reason, Refused, Report};
pub use text::{Handlers, StubArea, Text, Trap};

/// Bytes to write over the program's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Where they go.
    pub address: u64,
    /// A jump to a stub; then `int3` up to the end of the last instruction that is overwritten.
    pub bytes: Vec<u8>,
}

/// What to write, and what it means.
#[derive(Debug, Default, Clone)]
pub struct Rewrite {
    /// Disjoint, ascending by address.
    pub patches: Vec<Patch>,
    /// Code to write at the start of the stub area; not longer than it.
    pub stubs: Vec<u8>,
    /// Where the code of stubs came from.
    pub origins: Origins,
    /// What became of the sites.
    pub report: Report,
}

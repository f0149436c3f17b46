//! Faults and interrupts of the program, on their way to [`crate::process`]; those of the library OS end the VM.

use crate::{
    entry,
    machine::{self, Vm},
    stubs::is_stub,
};
use core::{
    arch::asm,
    sync::atomic::{AtomicU64, Ordering},
};
use denali_abi::memory::IMAGE_BASE;
use denali_guest::{
    fault::{self, FaultContext, Resume, SYSTEM_CALL},
    interrupt,
};
use denali_linux::{elf::PROGRAM_BASE, mm::Space, signal::Fault};

/// Vector, error code and address of the fault that is about to become a signal.
static FAULT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Lets them come here.
pub fn on() {
    // SAFETY: the handler serves system calls of the program, which runs none of this library's code then, and reports
    // all else.
    unsafe { fault::on(fault) };
    // SAFETY: the entry saves all registers, and has a stack of its own.
    unsafe { interrupt::redirect(redirect) };
}

/// The fault at `rip` that is about to become a signal.
pub fn noted(space: &Space<Vm>, rip: u64) -> Fault {
    let [vector, error_code, address] = FAULT.each_ref().map(|word| word.load(Ordering::Relaxed));
    let floating = match vector {
        16 => x87_exceptions(),
        19 => mxcsr(),
        _ => 0,
    };
    Fault { vector, error_code, address, rip, mapped: space.is_mapped(address, 1), floating }
}

/// MXCSR, whose flags say what happened.
fn mxcsr() -> u32 {
    let mut word = 0_u32;
    // SAFETY: writes the register's value to `word`.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
    word
}

/// The x87 exceptions that happened and are not masked.
fn x87_exceptions() -> u32 {
    let (mut status, mut control) = (0_u16, 0_u16);
    // SAFETY: writes a register's value to `status`.
    unsafe { asm!("fnstsw [{}]", in(reg) &mut status, options(nostack, preserves_flags)) };
    // SAFETY: the same.
    unsafe { asm!("fnstcw [{}]", in(reg) &mut control, options(nostack, preserves_flags)) };
    u32::from(status & !control)
}

/// Whether this is an address of the library OS. Where nothing is, a program may have jumped to.
fn is_library(rip: u64) -> bool {
    (IMAGE_BASE..PROGRAM_BASE).contains(&rip)
}

/// An interrupt: a program goes on in [`crate::process::interrupted`]; the library OS where it was, and looks later.
fn redirect(rip: u64) -> u64 {
    if is_library(rip) {
        machine::remind();
        rip
    } else {
        entry::interrupt(rip)
    }
}

/// A fault of the program, or a system call that was not rewritten.
fn fault(context: &mut FaultContext) -> Resume {
    if is_library(context.rip) && !is_stub(context.rip) {
        return Resume::End;
    }
    if context.vector == SYSTEM_CALL {
        TRAPS.note(context.rip);
        // RCX holds its return address, as after the stub's.
        context.rip = entry::address_of_calls();
        return Resume::Continue;
    }
    for (word, value) in FAULT.iter().zip([context.vector, context.error_code, context.address]) {
        word.store(value, Ordering::Relaxed);
    }
    context.rip = entry::fault(context.rip);
    Resume::Continue
}

/// System calls that came as faults.
pub static TRAPS: Traps = Traps { count: AtomicU64::new(0), last: AtomicU64::new(0) };

/// How many system calls came as faults, and the address behind the last.
pub struct Traps {
    pub count: AtomicU64,
    pub last: AtomicU64,
}

impl Traps {
    fn note(&self, rip: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.last.store(rip, Ordering::Relaxed);
    }
}

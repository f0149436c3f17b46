//! What is said of a program that failed, on its standard error.

use crate::{fault::TRAPS, machine::Vm};
use alloc::{format, string::String};
use core::sync::atomic::{AtomicBool, Ordering};
use denali_guest::eprintln;
use denali_linux::{
    call::{Frame, Machine, Process, name},
    elf,
    signal::Signal,
};

/// Of one that a signal ended, while its registers were those of `frame`.
pub fn killed(process: &mut Process<Vm>, frame: &Frame, signal: Signal) {
    let fault = process.last_fault();
    let place = place(process, frame.rip);
    if fault.resume() == frame.rip && fault.vector == 14 {
        eprintln!("denali: {signal} at {place}, address {:#x}", fault.address);
    } else {
        eprintln!("denali: {signal} at {place}");
    }
    eprintln!("denali: its last system calls: {}", process.recent);
    lacks(process);
}

/// The variable with which a program's environment asks for a report also of one that succeeds.
pub const WANTED: &str = "DENALI_REPORT=1";

static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// Whether [`ended`] tells all.
pub fn set_wanted(wanted: bool) {
    IS_WANTED.store(wanted, Ordering::Relaxed);
}

/// Of one that exited.
pub fn ended(process: &mut Process<Vm>, status: u8) {
    let wanted = IS_WANTED.load(Ordering::Relaxed);
    if wanted {
        let traps = TRAPS.count.load(Ordering::Relaxed);
        eprintln!("denali: {} system calls, of which {traps} took the slow way", process.recent.count());
        if traps > 0 {
            eprintln!("denali: the last of those before {}", place(process, TRAPS.last.load(Ordering::Relaxed)));
        }
    }
    if wanted || status != 0 {
        lacks(process);
    }
}

/// What a program asked for and did not get.
fn lacks(process: &Process<Vm>) {
    for (&number, count) in &process.unserved {
        eprintln!("denali: the system call {} is not served here; it was made {count} times", name(number));
    }
    if process.refused.processes > 0 {
        eprintln!("denali: there is one process here; another was asked for {} times", process.refused.processes);
    }
    let (times, bytes) = process.files.refused();
    if times > 0 {
        eprintln!("denali: files may hold {} KiB here, which was not enough {times} times", bytes >> 10);
    }
    let unreachable = process.files.unreachable();
    if let Some(last) = unreachable.last {
        let count = unreachable.count;
        eprintln!("denali: no network is reached from here; one was asked for {count} times, the last time {last}");
    }
    if process.refused.unshared > 0 {
        eprintln!("denali: threads share all here; {} were to have something of their own", process.refused.unshared);
    }
}

/// An instruction, with its function if the program has symbols.
fn place(process: &mut Process<Vm>, rip: u64) -> String {
    let vm = process.space.pages();
    let rip = vm.original(rip);
    match elf::symbol(vm.file, rip.wrapping_sub(vm.bias)) {
        Some((function, offset)) => format!("{rip:#x} ({function}+{offset:#x})"),
        None => format!("{rip:#x}"),
    }
}

//! What is said of a program that failed, on its standard error.

use crate::machine::Vm;
use alloc::{format, string::String};
use denali_guest::eprintln;
use denali_linux::{
    call::{Frame, Process, name},
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

/// What a program asked for and did not get.
pub fn lacks(process: &Process<Vm>) {
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

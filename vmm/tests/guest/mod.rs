//! Guests made by hand, byte by byte, and a worker in the test's own process that runs them.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod assembler;
mod elf;
mod worker;

pub(crate) use assembler::{Asm, DATA, RESULT_BYTES, Reg, frame_record};
pub(crate) use elf::image;
pub(crate) use worker::{Ended, Job, Worker, run};

use denali_protocol::job::{FaultCause, Outcome};

/// Runs code and gives the cause of the fault that it must end with, and the instruction pointer.
pub(crate) fn fault(code: &Asm) -> (FaultCause, u64) {
    match run(code).outcome {
        Outcome::Fault(fault) => (fault.cause, fault.instruction_pointer),
        other => panic!("{other:?} instead of a fault"),
    }
}

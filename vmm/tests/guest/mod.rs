//! Guests made by hand, byte by byte, and a worker in the test's own process that runs them.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses a part of it")]

mod assembler;
mod elf;
mod worker;

pub(crate) use assembler::{Asm, DATA, RESULT_BYTES, Reg, frame_record};
pub(crate) use elf::image;
pub(crate) use worker::{Ended, Job, Worker, run};

use denali_protocol::job::{FaultCause, Outcome};

/// The code of a guest between two labels of an assembly file that the test includes.
macro_rules! guest {
    ($start:ident, $end:ident) => {{
        // SAFETY: both are labels of the assembly, which the linker finds in this very program.
        unsafe extern "C" {
            static $start: u8;
            static $end: u8;
        }
        let (start, end) = (&raw const $start, &raw const $end);
        // SAFETY: the labels enclose the guest's code, which is a part of this program's and never changes.
        Asm::new().raw(unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) })
    }};
}
pub(crate) use guest;

/// Runs code and gives the cause of the fault that it must end with, and the instruction pointer.
pub(crate) fn fault(code: &Asm) -> (FaultCause, u64) {
    match run(code).outcome {
        Outcome::Fault(fault) => (fault.cause, fault.instruction_pointer),
        other => panic!("{other:?} instead of a fault"),
    }
}

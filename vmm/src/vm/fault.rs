//! From a CPU exception to a fault, and its report.

use crate::{
    kvm::{Registers, VirtualMachine},
    machine::{
        layout::{EXCEPTION_STACK, EXCEPTION_STACK_TOP, at},
        stubs::{SYSCALL_STUB, has_error_code},
    },
    sabotage::left_out,
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES, STACK_BOTTOM},
    registers::{FaultRecord, Interrupted, SYSTEM_CALL},
};
use denali_protocol::job::{Access, Fault, FaultCause};

const DIVIDE: u8 = 0;
const INVALID_OPCODE: u8 = 6;
const DOUBLE_FAULT: u8 = 8;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// Page fault error code: the access was a write; an instruction fetch.
const WRITE: u64 = 1 << 1;
const FETCH: u64 = 1 << 4;

/// Bytes of `syscall`.
const SYSCALL_BYTES: u64 = 2;

/// Reads what the CPU pushed for exception `vector` of the guest, whose stub just reported. An error is how the VM ends.
pub(super) fn exception(machine: &VirtualMachine, registers: &Registers, vector: u8) -> Result<FaultRecord, Fault> {
    // RSP lies in the exception stack: the CPU switched to it, and the stub pushes nothing.
    let offset = registers.rsp.wrapping_sub(at(0));
    let words = if has_error_code(vector) { 6 } else { 5 };
    let frame = (EXCEPTION_STACK..=EXCEPTION_STACK_TOP - 8 * words)
        .contains(&offset)
        .then(|| machine.memory().read_supervisor::<5>(offset + 8 * (words - 5)).ok())
        .flatten();
    let Some([rip, cs, rflags, rsp, _ss]) = frame else {
        return Err(Fault { cause: FaultCause::Shutdown, instruction_pointer: registers.rip });
    };
    if vector == PAGE_FAULT && rip == at(SYSCALL_STUB) {
        return Ok(system_call(registers, rsp));
    }
    let error_code = match words {
        6 => machine.memory().read_supervisor::<1>(offset).map_or(0, |[code]| code),
        _ => 0,
    };
    let address = if vector == PAGE_FAULT && !left_out!(FaultAddress) { machine.fault_address() } else { 0 };
    let rip = if left_out!(FaultInstruction) { registers.rip } else { rip };
    let record = FaultRecord { at: Interrupted { rip, rflags, rsp }, vector: vector.into(), error_code, address };
    // What goes wrong at CPL 0 is none of the guest's to handle.
    if cs & 3 == 3 { Ok(record) } else { Err(report(&record)) }
}

/// The report of a fault that ends the VM.
pub(super) fn report(record: &FaultRecord) -> Fault {
    let passed = if record.vector == SYSTEM_CALL { SYSCALL_BYTES } else { 0 };
    Fault { cause: cause(record), instruction_pointer: record.at.rip.wrapping_sub(passed) }
}

/// What a fault was.
pub(super) fn cause(record: &FaultRecord) -> FaultCause {
    match record.vector as u8 {
        _ if record.vector == SYSTEM_CALL => FaultCause::SystemCall,
        DIVIDE => FaultCause::Divide,
        INVALID_OPCODE => FaultCause::InvalidInstruction,
        DOUBLE_FAULT => FaultCause::Shutdown,
        GENERAL_PROTECTION => FaultCause::Protection,
        PAGE_FAULT => page_fault(record.address, record.error_code, record.at.rip, record.at.rsp),
        vector => FaultCause::Exception { vector },
    }
}

/// A `syscall` instruction of a guest whose stack pointer was `rsp`: RCX holds the address after it, R11 the flags.
pub(super) fn system_call(registers: &Registers, rsp: u64) -> FaultRecord {
    let at = Interrupted { rip: registers.rcx, rflags: registers.r11, rsp };
    FaultRecord { at, vector: SYSTEM_CALL, error_code: 0, address: 0 }
}

fn page_fault(address: u64, code: u64, rip: u64, rsp: u64) -> FaultCause {
    let guard = CONTROL + PAGE_BYTES..STACK_BOTTOM;
    // A frame of locals can reach far below the stack pointer before the first touch, or above it after.
    if guard.contains(&address) && (guard.contains(&rsp) || rsp.wrapping_sub(STACK_BOTTOM) < 16 * PAGE_BYTES) {
        return FaultCause::StackOverflow { address };
    }
    let access = match code {
        // Before the address is looked at, which software KVM tells fetches by: a program may write to where it is.
        _ if code & WRITE != 0 => Access::Write,
        _ if code & FETCH != 0 || address == rip => Access::Execute,
        _ => Access::Read,
    };
    FaultCause::Page { address, access }
}

//! The virtual instruction PROTECT: changing the rights of guest pages.
//!
//! KVM's shadow page tables (on hosts without nested paging) do not see what the VMM writes into a guest's page tables
//! from outside. So the entries are staged in the supervisor slot, and a stub copies them at CPL 0, where KVM looks.

use crate::{
    kvm::{Exit, MachineError, Registers, VirtualMachine},
    machine::{
        layout::{EXCEPTION_STACK_TOP, STAGING, Tables, at},
        paging::Rights,
        stubs::{PROTECT_STUB, Stub, stub_at},
    },
};
use denali_abi::memory::{IMAGE_BASE, PAGE_BYTES, STACK_BOTTOM, STACK_TOP};

/// Why a PROTECT is refused, or could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtectError {
    #[error("{0}")]
    Rights(#[from] crate::machine::paging::RightsError),
    #[error("{bytes} bytes at {address:#x} are not whole pages")]
    Alignment { address: u64, bytes: u64 },
    #[error(
        "{bytes} bytes at {address:#x} are not within the stack ({STACK_BOTTOM:#x} to {STACK_TOP:#x}) or from \
         {IMAGE_BASE:#x} to {memory_bytes:#x}"
    )]
    Range { address: u64, bytes: u64, memory_bytes: u64 },
    #[error("interrupted")]
    Interrupted,
    #[error("the page table stub did not return")]
    Stub,
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Entries that fit the staging page.
const BATCH: u64 = PAGE_BYTES / 8;

/// Carries out the PROTECT in `registers`, the guest's at the exit. `stopping` says whether the VM has to end meanwhile.
pub(super) fn protect(
    machine: &mut VirtualMachine,
    memory_bytes: u64,
    stopping: impl Fn() -> bool,
) -> Result<(), ProtectError> {
    machine.complete_exit();
    let registers = machine.registers();
    let (address, bytes) = (registers.rdi, registers.rsi);
    let rights = Rights::from_bits(registers.rdx)?;
    if !(address | bytes).is_multiple_of(PAGE_BYTES) {
        return Err(ProtectError::Alignment { address, bytes });
    }
    let inside = |low: u64, high: u64| address >= low && address.checked_add(bytes).is_some_and(|end| end <= high);
    if !inside(STACK_BOTTOM, STACK_TOP) && !inside(IMAGE_BASE, memory_bytes) {
        return Err(ProtectError::Range { address, bytes, memory_bytes });
    }
    let tables = Tables::of(memory_bytes);
    machine.enter_supervisor()?;
    let mut page = address;
    while page < address + bytes {
        if stopping() {
            return Err(ProtectError::Interrupted);
        }
        let end = (page + BATCH * PAGE_BYTES).min(address + bytes);
        let entries: Vec<u64> = (page..end).step_by(PAGE_BYTES as usize).map(|p| rights.entry(p)).collect();
        machine.memory().write_supervisor(STAGING, &entries).map_err(|_| ProtectError::Stub)?;
        copy_entries(machine, at(tables.guest_pte(page)), entries.len() as u64)?;
        page = end;
    }
    machine.enter_user();
    machine.set_registers(Registers { rax: 0, ..registers });
    Ok(())
}

fn copy_entries(machine: &mut VirtualMachine, target: u64, count: u64) -> Result<(), ProtectError> {
    machine.set_registers(Registers {
        rip: at(PROTECT_STUB),
        rsp: at(EXCEPTION_STACK_TOP),
        rsi: at(STAGING),
        rdi: target,
        rcx: count,
        rflags: 1 << 1,
        ..Registers::default()
    });
    loop {
        match machine.run() {
            // The copy goes on where it was interrupted; it is short.
            Exit::Interrupted => {}
            Exit::Out { .. } if stub_at(machine.registers().rip) == Some(Stub::Protected) => return Ok(()),
            _ => return Err(ProtectError::Stub),
        }
    }
}

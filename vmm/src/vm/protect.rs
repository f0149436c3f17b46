//! The virtual instruction PROTECT: changing the rights of guest pages.
//!
//! KVM's shadow page tables (on hosts without nested paging) do not see what the VMM writes into a guest's page tables
//! from outside. So the entries are staged in the supervisor slot, and a stub copies them at CPL 0, where KVM looks.

use crate::{
    kvm::{Exit, Registers, VirtualMachine},
    machine::{
        layout::{EXCEPTION_STACK_TOP, STAGING, Tables, at},
        paging::Rights,
        stubs::{PROTECT_STUB, Stub, stub_at},
    },
};
use denali_abi::memory::{IMAGE_BASE, PAGE_BYTES, STACK_BOTTOM, STACK_TOP};
use std::ops::Range;

/// Why a PROTECT is refused, or could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtectError {
    #[error("{0}")]
    Rights(#[from] crate::machine::paging::RightsError),
    #[error("{bytes} bytes at {address:#x} are not whole pages")]
    Alignment { address: u64, bytes: u64 },
    #[error(
        "{bytes} bytes at {address:#x} are not within the stack ({STACK_BOTTOM:#x} to {STACK_TOP:#x}) or from \
         {IMAGE_BASE:#x} to {memory_bytes:#x}"
    )]
    Range { address: u64, bytes: u64, memory_bytes: u64 },
    #[error("the page table stub did not return")]
    Stub,
}

/// Entries that fit the staging page.
const BATCH: u64 = PAGE_BYTES / 8;

/// A PROTECT under way: a large one takes longer than a slice.
#[derive(Debug)]
pub(super) struct Protect {
    registers: Registers,
    rights: Rights,
    pages: Range<u64>,
}

impl Protect {
    /// The PROTECT that the guest just exited with.
    pub(super) fn begin(machine: &mut VirtualMachine, memory_bytes: u64) -> Result<Self, ProtectError> {
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
        Ok(Self { registers, rights, pages: address..address + bytes })
    }

    /// Does a part of it, half a millisecond's worth. `true` when all is done and the guest may go on.
    pub(super) fn step(&mut self, machine: &mut VirtualMachine, memory_bytes: u64) -> Result<bool, ProtectError> {
        let Range { start, end } = self.pages;
        let stop = (start + BATCH * PAGE_BYTES).min(end);
        if start < stop {
            let entries: Vec<u64> = (start..stop).step_by(PAGE_BYTES as usize).map(|p| self.rights.entry(p)).collect();
            write_tables(machine, Tables::of(memory_bytes).guest_pte(start), &entries)?;
        }
        self.pages.start = stop;
        if stop < end {
            return Ok(false);
        }
        machine.set_registers(Registers { rax: 0, ..self.registers });
        Ok(true)
    }
}

/// Writes up to [`BATCH`] page table entries at `offset` of the supervisor slot. The guest's general registers are lost,
/// all else of its virtual CPU stays.
pub(super) fn write_tables(machine: &mut VirtualMachine, offset: u64, entries: &[u64]) -> Result<(), ProtectError> {
    machine.memory().write_supervisor(STAGING, entries).map_err(|_| ProtectError::Stub)?;
    machine.enter_supervisor();
    copy_entries(machine, at(offset), entries.len() as u64)?;
    machine.enter_user();
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
    match machine.run_stub() {
        Exit::Out { .. } if stub_at(machine.registers().rip) == Some(Stub::Protected) => Ok(()),
        _ => Err(ProtectError::Stub),
    }
}

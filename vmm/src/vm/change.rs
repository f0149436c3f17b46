//! The virtual instruction PROTECT: changing the page tables of a guest.
//!
//! KVM's shadow page tables (on hosts without nested paging) do not see what the VMM writes into a guest's page tables
//! from outside. So the entries are staged in the supervisor slot, and a stub copies them at CPL 0, where KVM looks.

use crate::{
    kvm::{Exit, Registers, TRAP_FLAG, VirtualMachine},
    machine::{
        layout::{EXCEPTION_STACK_TOP, STAGING, at},
        paging::{Rights, RightsError},
        stubs::{PROTECT_STUB, Stub, stub_at},
        window::{PageTables, Plan, WindowError},
    },
};
use denali_abi::{
    instruction::{PAGES_IN_PLACE, PAGES_RETURN},
    memory::{IMAGE_BASE, PAGE_BYTES, STACK_BOTTOM, STACK_TOP, WINDOW_END, WINDOW_START},
};
use std::ops::Range;

/// Why a change is refused, or could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{0}")]
    Rights(#[from] RightsError),
    #[error("{0}")]
    Window(#[from] WindowError),
    #[error("{bytes} bytes at {address:#x} are not whole pages")]
    Alignment { address: u64, bytes: u64 },
    #[error(
        "{bytes} bytes at {address:#x} are not within the stack ({STACK_BOTTOM:#x} to {STACK_TOP:#x}), from \
         {IMAGE_BASE:#x} to {memory_bytes:#x}, or within the window ({WINDOW_START:#x} to {WINDOW_END:#x})"
    )]
    Range { address: u64, bytes: u64, memory_bytes: u64 },
    #[error("{bytes} bytes at {address:#x} are not within {from:#x} to {to:#x}")]
    Outside { address: u64, bytes: u64, from: u64, to: u64 },
    #[error("the trap flag is set")]
    Stepping,
    #[error("the page table stub did not return")]
    Stub,
}

/// What becomes of pages.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Protect(Rights),
    /// They are moved to the window, from this address on.
    Show(Rights, u64),
    /// They are moved back from it.
    Hide,
}

/// A change under way: a large one takes longer than a slice.
#[derive(Debug)]
pub(super) struct Change {
    registers: Registers,
    kind: Kind,
    /// What is left to be done.
    addresses: Range<u64>,
    memory_bytes: u64,
}

impl Change {
    /// The PROTECT that the guest just exited with, whose heap starts at `heap_start`.
    pub(super) fn new(machine: &mut VirtualMachine, heap_start: u64, memory_bytes: u64) -> Result<Self, ChangeError> {
        machine.complete_exit();
        Self::of(machine.registers(), heap_start, memory_bytes)
    }

    /// What a PROTECT with these registers asks for.
    fn of(registers: Registers, heap_start: u64, memory_bytes: u64) -> Result<Self, ChangeError> {
        if registers.rflags & TRAP_FLAG != 0 {
            // The CPU would step through the stub in place of the guest.
            return Err(ChangeError::Stepping);
        }
        let (address, bytes) = (registers.rdi, registers.rsi);
        let rights = || Rights::from_bits(registers.rdx);
        let within = |address, allowed: Range<u64>| {
            let (from, to) = (allowed.start, allowed.end);
            pages(address, bytes, &[allowed])?.ok_or(ChangeError::Outside { address, bytes, from, to })
        };
        let (kind, addresses) = match registers.r10 {
            PAGES_IN_PLACE => {
                let allowed = [STACK_BOTTOM..STACK_TOP, IMAGE_BASE..memory_bytes, WINDOW_START..WINDOW_END];
                let addresses = pages(address, bytes, &allowed)?;
                (Kind::Protect(rights()?), addresses.ok_or(ChangeError::Range { address, bytes, memory_bytes })?)
            }
            PAGES_RETURN => (Kind::Hide, within(address, WINDOW_START..WINDOW_END)?),
            moved => {
                let moved = within(moved, heap_start..memory_bytes)?.start;
                (Kind::Show(rights()?, moved), within(address, WINDOW_START..WINDOW_END)?)
            }
        };
        Ok(Self { registers, kind, addresses, memory_bytes })
    }

    /// The guest's registers, just after the instruction.
    pub(super) fn registers(&self) -> Registers {
        self.registers
    }

    /// Does a part of it, half a millisecond's worth. `true` when all is done and the guest may go on.
    pub(super) fn step(&mut self, machine: &mut VirtualMachine) -> Result<bool, ChangeError> {
        let plan = self.plan(&PageTables::new(machine.memory().supervisor(), self.memory_bytes))?;
        let Some(plan) = plan else { return Ok(self.finish(machine)) };
        for write in &plan.writes {
            write_tables(machine, write.offset, &write.entries)?;
        }
        Ok(self.addresses.is_empty() && self.finish(machine))
    }

    /// The next part, which is done once it is written. `None` when all is done, or no page tables are left.
    fn plan(&mut self, tables: &PageTables<'_>) -> Result<Option<Plan>, ChangeError> {
        let Range { start, end } = self.addresses;
        if start == end {
            return Ok(None);
        }
        let left = (end - start) / PAGE_BYTES;
        let plan = match self.kind {
            Kind::Protect(rights) => Some(tables.protect(start, left, rights)?),
            Kind::Show(rights, from) => tables.show(start, from, left, rights)?,
            Kind::Hide => Some(tables.hide(start, left)?),
        };
        let Some(plan) = plan else { return Ok(None) };
        let bytes = plan.pages * PAGE_BYTES;
        self.addresses.start += bytes;
        if let Kind::Show(_, from) = &mut self.kind {
            *from += bytes;
        }
        Ok(Some(plan))
    }

    /// Bytes that are as before.
    fn left(&self) -> u64 {
        self.addresses.end - self.addresses.start
    }

    fn finish(&self, machine: &mut VirtualMachine) -> bool {
        machine.set_registers(Registers { rax: self.left(), ..self.registers });
        true
    }
}

/// The addresses of whole pages, if they lie within one of the ranges.
fn pages(address: u64, bytes: u64, allowed: &[Range<u64>]) -> Result<Option<Range<u64>>, ChangeError> {
    if !(address | bytes).is_multiple_of(PAGE_BYTES) {
        return Err(ChangeError::Alignment { address, bytes });
    }
    let inside = |end: u64| allowed.iter().any(|range| range.start <= address && end <= range.end);
    Ok(address.checked_add(bytes).filter(|end| inside(*end)).map(|end| address..end))
}

/// Writes up to a page of page table entries at `offset` of the supervisor slot. The guest's general registers are lost, all
/// else of its virtual CPU stays.
pub(super) fn write_tables(machine: &mut VirtualMachine, offset: u64, entries: &[u64]) -> Result<(), ChangeError> {
    machine.memory().write_supervisor(STAGING, entries).map_err(|_| ChangeError::Stub)?;
    machine.enter_supervisor();
    copy_entries(machine, at(offset), entries.len() as u64)?;
    machine.enter_user();
    Ok(())
}

fn copy_entries(machine: &mut VirtualMachine, target: u64, count: u64) -> Result<(), ChangeError> {
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
        _ => Err(ChangeError::Stub),
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;

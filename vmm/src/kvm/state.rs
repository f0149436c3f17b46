//! What a virtual CPU is made of: its system registers at the start, and all of its state that a guest can change.

use super::vcpu::Registers;
use crate::machine::layout::{self, GDT, GDT_BYTES, IDT, PML4, TASK, TSS, TSS_BYTES, at, physical};
use denali_abi::memory::STACK_TOP;
use kvm_bindings::{kvm_segment, kvm_sregs};
use serde::{Deserialize, Serialize};

/// Words of the extended state.
pub(super) const EXTENDED_WORDS: usize = 1024;

/// Everything of a virtual CPU that code at CPL 3 can change. Model-specific and debug registers and XCR0 take CPL 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CpuState {
    pub(crate) registers: Registers,
    pub(super) system: kvm_sregs,
    /// As in a `kvm_xsave`.
    pub(super) extended: Vec<u32>,
}

impl CpuState {
    /// The state at the entry point of a VM with `memory_bytes`. `system` is what KVM gives a new virtual CPU.
    pub(super) fn at_entry(mut system: kvm_sregs, entry: u64, memory_bytes: u64) -> Self {
        system_registers(&mut system, memory_bytes);
        enter(&mut system, layout::USER_CODE, layout::USER_DATA, 3);
        // RFLAGS bit 1 is always set; interrupts are off and the I/O privilege level is 0.
        let registers = Registers { rip: entry, rsp: STACK_TOP, rflags: 1 << 1, ..Registers::default() };
        Self { registers, system, extended: extended_at_entry().to_vec() }
    }
}

/// Place of MXCSR in the extended state.
const MXCSR: usize = 24 / 4;

/// x87 and SSE in their initial state, and nothing else in use (Intel SDM volume 1, chapter 13: the legacy region, then the
/// header, whose first word names the components that follow; those that it leaves out are in their initial state).
fn extended_at_entry() -> [u32; EXTENDED_WORDS] {
    const CONTROL_WORD: usize = 0;
    const COMPONENTS: usize = 512 / 4;
    let mut extended = [0; EXTENDED_WORDS];
    extended[CONTROL_WORD] = 0x037f;
    extended[MXCSR] = 0x1f80;
    // Named although they are initial: MXCSR is only loaded along with a component that has it.
    extended[COMPONENTS] = 0b11;
    extended
}

/// Makes code at privilege `level` run next.
pub(super) fn enter(system: &mut kvm_sregs, code: u16, data: u16, level: u8) {
    system.cs = segment(code, CODE, level);
    system.ss = segment(data, DATA, level);
}

const PROTECTED_MODE: u64 = 1 << 0;
const MONITOR: u64 = 1 << 1;
const EXTENSION_TYPE: u64 = 1 << 4;
const NUMERIC_ERROR: u64 = 1 << 5;
const WRITE_PROTECT: u64 = 1 << 16;
const PAGING: u64 = 1 << 31;

const PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const GLOBAL_PAGES: u64 = 1 << 7;
const FXSAVE: u64 = 1 << 9;
const SIMD_EXCEPTIONS: u64 = 1 << 10;
const FSGSBASE: u64 = 1 << 16;
const XSAVE: u64 = 1 << 18;

const EFER_SYSCALL: u64 = 1 << 0;
const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;
const EFER_NO_EXECUTE: u64 = 1 << 11;

/// Segment types: code that was read, data that was written.
const CODE: u8 = 0xb;
const DATA: u8 = 0x3;

fn segment(selector: u16, kind: u8, level: u8) -> kvm_segment {
    let code = u8::from(kind == CODE);
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        dpl: level,
        db: 1 - code,
        s: 1,
        l: code,
        g: 1,
        ..kvm_segment::default()
    }
}

/// Long mode, paging on, all of it set before the first instruction: nothing boots.
fn system_registers(system: &mut kvm_sregs, memory_bytes: u64) {
    let data = segment(layout::USER_DATA, DATA, 3);
    (system.ds, system.es, system.fs, system.gs) = (data, data, data, data);
    system.tr = kvm_segment {
        base: at(TSS),
        limit: (TSS_BYTES - 1) as u32,
        selector: TASK,
        type_: 0xb,
        present: 1,
        ..kvm_segment::default()
    };
    // KVM starts with a local descriptor table at address 0, present and 64 KiB long: the guest writes the control page
    // in there, and a call gate that it made would lead to CPL 0. There is no such table.
    system.ldt = kvm_segment { unusable: 1, ..kvm_segment::default() };
    (system.gdt.base, system.gdt.limit) = (at(GDT), (GDT_BYTES - 1) as u16);
    (system.idt.base, system.idt.limit) = (at(IDT), 32 * 16 - 1);
    system.cr0 = PROTECTED_MODE | MONITOR | EXTENSION_TYPE | NUMERIC_ERROR | WRITE_PROTECT | PAGING;
    system.cr3 = physical(memory_bytes, PML4);
    system.cr4 = PHYSICAL_ADDRESS_EXTENSION | GLOBAL_PAGES | FXSAVE | SIMD_EXCEPTIONS | FSGSBASE | XSAVE;
    system.efer = EFER_SYSCALL | EFER_LONG_MODE | EFER_NO_EXECUTE;
}

#[cfg(test)]
mod sabotaged;

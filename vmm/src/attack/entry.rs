//! What a case has at the entry of its VM.

use super::{case::Case, verdict::AttackError};
use crate::{
    kvm::{Recorder, Registers},
    vm::Vm,
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES, REGISTERS},
    registers::VirtualRegisters,
};
use std::mem::offset_of;
use vm_memory::Bytes;

/// Writes what a case has at the entry, as the guest itself might in its first instructions.
pub(super) fn upset(vm: &mut Vm, case: &Case) -> Result<(), AttackError> {
    let transmit = vm.rings().transmit;
    let machine = vm.hardware().machine();
    let ram = machine.memory().ram();
    ram.write_slice(&case.random_seed, REGISTERS as usize + offset_of!(VirtualRegisters, random_seed))?;
    ram.write_slice(&case.transmit[..case.transmit.len().min(PAGE_BYTES as usize)], transmit as usize)?;
    for (word, value) in &case.control {
        ram.write_slice(&value.to_le_bytes(), CONTROL as usize + 8 * usize::from(*word))?;
    }
    if !case.registers.is_empty() {
        let mut registers = machine.registers();
        for (n, value) in &case.registers {
            *general(&mut registers, *n) = *value;
        }
        machine.set_registers(registers);
    }
    let interruptions = case.events.iter().map(|event| u64::from(event.entry)).collect();
    machine.record(Some(Box::new(Recorder::interrupting(interruptions))));
    Ok(())
}

/// A general register by its number in encodings, of all but the stack pointer, which RAX stands in for.
fn general(registers: &mut Registers, n: u8) -> &mut u64 {
    match n & 15 {
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        15 => &mut registers.r15,
        _ => &mut registers.rax,
    }
}

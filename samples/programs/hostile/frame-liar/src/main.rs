//! Publishes a frame that claims to be longer than the ring.
#![no_std]
#![no_main]

use core::{mem::offset_of, ptr};
use denali_abi::{memory::CONTROL, registers::Control};
use denali_guest::{Job, instruction, vreg};

denali_guest::main!(main);

fn main(_: &mut Job) {
    let registers = vreg::read();
    let head = (CONTROL as usize + offset_of!(Control, transmit_head)) as *mut u64;
    // SAFETY: ring and control page are this guest's to write; what it writes is the attack.
    unsafe {
        ptr::write_volatile(registers.transmit_ring as *mut u32, u32::MAX);
        ptr::write_volatile(head, 64);
    }
    // Ends as if all were well: the lie is found when the VMM looks at the ring.
    instruction::terminate(0);
}

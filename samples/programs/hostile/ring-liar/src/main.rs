//! Publishes a position of its transmit ring that can't be.
#![no_std]
#![no_main]

use core::{mem::offset_of, ptr};
use denali_abi::{memory::CONTROL, registers::Control};
use denali_guest::{Job, instruction};

denali_guest::main!(main);

fn main(_: &mut Job) {
    let head = (CONTROL as usize + offset_of!(Control, transmit_head)) as *mut u64;
    // SAFETY: the control page is this guest's to write; what it writes is the attack.
    unsafe { ptr::write_volatile(head, 1 << 40) };
    instruction::kick();
    loop {
        core::hint::spin_loop();
    }
}

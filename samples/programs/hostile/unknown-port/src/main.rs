//! Tries a real machine's serial port.
#![no_std]
#![no_main]

use denali_guest::{Job, println};

denali_guest::main!(main);

fn main(_: &mut Job) {
    // SAFETY: none: this is the attack.
    unsafe { core::arch::asm!("out dx, al", in("dx") 0x3f8, in("al") b'!') };
    println!("the VM can reach other ports");
}

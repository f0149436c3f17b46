//! Runs bytes that it wrote itself.
#![no_std]
#![no_main]

use denali_guest::{Job, println};

denali_guest::main!(main);

/// `ret`
static mut CODE: [u8; 16] = [0xc3; 16];

fn main(_: &mut Job) {
    // SAFETY: none: this is the attack.
    let run: extern "C" fn() = unsafe { core::mem::transmute(&raw mut CODE) };
    run();
    println!("the VM can run data");
}

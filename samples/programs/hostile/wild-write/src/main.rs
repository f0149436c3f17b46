//! Writes to memory that belongs to the VMM: its page tables.
#![no_std]
#![no_main]

use denali_guest::{Job, println};

denali_guest::main!(main);

fn main(_: &mut Job) {
    println!("about to write");
    // SAFETY: none: this is the attack. The page tables lie there.
    unsafe { (0x40_0000_8000 as *mut u64).write_volatile(u64::MAX) };
    println!("the VM can write to the VMM's pages");
}

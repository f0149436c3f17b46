//! Asks a kernel that is not there.
#![no_std]
#![no_main]

use denali_guest::{Job, println};

denali_guest::main!(main);

fn main(_: &mut Job) {
    // SAFETY: none: this is the attack. 39 is getpid.
    unsafe { core::arch::asm!("syscall", in("eax") 39, lateout("rax") _, lateout("rcx") _, lateout("r11") _) };
    println!("someone served a system call");
}

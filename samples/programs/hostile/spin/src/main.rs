//! Never ends, never leaves.
#![no_std]
#![no_main]

use denali_guest::Job;

denali_guest::main!(main);

fn main(_: &mut Job) {
    loop {
        core::hint::spin_loop();
    }
}

//! Gives up the CPU for ever and never ends.
#![no_std]
#![no_main]

use denali_guest::{Job, instruction};

denali_guest::main!(main);

fn main(_: &mut Job) {
    loop {
        instruction::idle(u64::MAX);
    }
}

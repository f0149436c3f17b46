//! Kicks without end, and with nothing to say.
#![no_std]
#![no_main]

use denali_guest::{Job, instruction};

denali_guest::main!(main);

fn main(_: &mut Job) {
    loop {
        instruction::kick();
    }
}

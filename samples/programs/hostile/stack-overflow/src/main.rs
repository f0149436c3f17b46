//! Calls itself without end.
#![no_std]
#![no_main]

use denali_guest::{Job, println};

denali_guest::main!(main);

fn main(_: &mut Job) {
    println!("{}", deeper(0));
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "this is the attack")]
fn deeper(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    deeper(depth + 1) + frame[0]
}

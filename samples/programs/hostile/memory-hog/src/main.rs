//! Wants more memory than there is.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{vec, vec::Vec};
use denali_guest::Job;

denali_guest::main!(main);

fn main(_: &mut Job) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(core::hint::black_box(vec![1; 1 << 20]));
    }
}

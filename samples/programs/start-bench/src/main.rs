//! A small job, to measure starts: reads its input, dirties 16 pages, writes a line.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{vec, vec::Vec};
use denali_guest::{Job, embedded_io::Read, println};

denali_guest::main!(main);

const PAGE: usize = 4096;

fn main(job: &mut Job) {
    let mut input = [0; 64];
    let Ok(read) = job.input().read(&mut input);
    let mut pages: Vec<u8> = vec![0; 16 * PAGE];
    for (page, byte) in pages.chunks_mut(PAGE).zip(input) {
        page[0] = byte;
    }
    let sum: u32 = core::hint::black_box(&pages).iter().step_by(PAGE).map(|byte| u32::from(*byte)).sum();
    println!("{read} bytes, {sum}");
}

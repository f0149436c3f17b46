//! Simulates the outer planets for a number of steps; prints the energy before and after.
#![no_std]
#![no_main]

use denali_guest::{Job, job::ArgumentError, println};
use denali_kernels::nbody::System;

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let steps: u64 = job.argument(0, "a number of steps")?;
    let mut system = System::default();
    println!("{:.9}", system.energy());
    for percent in 1..=100 {
        system.advance(steps * percent / 100 - steps * (percent - 1) / 100);
        job.progress((percent * 10) as u16);
    }
    println!("{:.9}", system.energy());
    Ok(())
}

//! Simulates the outer planets for a number of steps; prints the energy before and after, and puts its course into the
//! named output file `energy.csv`.
#![no_std]
#![no_main]

use core::fmt::Write;
use denali_guest::{Job, job::ArgumentError, println};
use denali_kernels::nbody::System;

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let steps: u64 = job.argument(0, "a number of steps")?;
    let mut system = System::default();
    println!("{:.9}", system.energy());
    let mut course = job.create("energy.csv");
    // Writing to an output never fails in a VM.
    let _ = writeln!(course, "step,energy");
    for percent in 1..=100 {
        system.advance(steps * percent / 100 - steps * (percent - 1) / 100);
        let _ = writeln!(course, "{},{:.9}", steps * percent / 100, system.energy());
        job.progress((percent * 10) as u16);
    }
    println!("{:.9}", system.energy());
    Ok(())
}

//! Leaves for the VMM as often as its argument says; prints the nanoseconds that one round trip took.
#![no_std]
#![no_main]

use denali_guest::{Job, clock, instruction, job::ArgumentError, println};

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let count: u64 = job.argument(0, "a number of exits")?;
    let begun = clock::now_ns();
    for _ in 0..count {
        // A time long past: the VMM returns at once.
        instruction::idle(0);
    }
    println!("{}", (clock::now_ns() - begun) / count.max(1));
    Ok(())
}

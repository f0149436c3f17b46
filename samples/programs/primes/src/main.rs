//! Counts the primes up to its argument.
#![no_std]
#![no_main]

use denali_guest::{Job, job::ArgumentError, println};

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let limit = job.argument(0, "a number below 10^12")?;
    println!("{}", denali_kernels::primes::count(limit));
    Ok(())
}

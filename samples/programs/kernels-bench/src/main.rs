//! Times the computation that its argument names: its result, then nanoseconds.
#![no_std]
#![no_main]

use denali_guest::{Job, clock, job::ArgumentError, println};
use denali_kernels::suite::Kernel;

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let kernel: Kernel = job.argument(0, "the name of a computation")?;
    let measured = kernel.measure(clock::now_ns);
    println!("{}", measured.result);
    for ns in measured.ns {
        println!("{ns}");
    }
    Ok(())
}

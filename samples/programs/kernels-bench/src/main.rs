//! Times the computations of the samples: name and nanoseconds of each, for as many rounds as its argument says.
#![no_std]
#![no_main]

use denali_guest::{Job, clock, job::ArgumentError, println};
use denali_kernels::suite;

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let rounds: u32 = job.argument(0, "a number of rounds")?;
    for _ in 0..rounds {
        for (name, kernel) in suite::ALL {
            let begun = clock::now_ns();
            let result = kernel();
            println!("{name} {} {result}", clock::now_ns() - begun);
        }
    }
    Ok(())
}

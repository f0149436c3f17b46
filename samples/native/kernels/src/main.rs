//! The native side of `programs/kernels-bench`: says the same of the computation that its argument names.

use denali_kernels::suite::Kernel;
use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let Some(kernel) = std::env::args().nth(1).and_then(|name| name.parse::<Kernel>().ok()) else {
        eprintln!("argument 1 is not the name of a computation");
        return ExitCode::FAILURE;
    };
    let begun = Instant::now();
    let measured = kernel.measure(|| u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    println!("{}", measured.result);
    for ns in measured.ns {
        println!("{ns}");
    }
    ExitCode::SUCCESS
}

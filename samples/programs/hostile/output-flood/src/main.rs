//! Writes without end.
#![no_std]
#![no_main]

use denali_guest::{Job, embedded_io::Write};

denali_guest::main!(main);

fn main(job: &mut Job) {
    let mut output = job.output();
    loop {
        let Ok(()) = output.write_all(&[b'x'; 8192]);
    }
}

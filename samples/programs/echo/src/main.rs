//! Copies its input to its output.
#![no_std]
#![no_main]

use denali_guest::{
    Job,
    embedded_io::{Read, Write},
};

denali_guest::main!(main);

fn main(job: &mut Job) {
    let (mut input, mut output) = (job.input(), job.output());
    let mut buffer = [0; 4 * 1024];
    loop {
        // Neither reading nor writing ever fails in a VM.
        let Ok(bytes) = input.read(&mut buffer);
        if bytes == 0 {
            return;
        }
        let Ok(()) = output.write_all(&buffer[..bytes]);
        let Ok(()) = output.flush();
    }
}

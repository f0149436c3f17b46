//! Counts the words of its input, as `wc -w` does.
#![no_std]
#![no_main]

use denali_guest::{Job, embedded_io::Read, println};
use denali_kernels::words::WordCount;

denali_guest::main!(main);

fn main(job: &mut Job) {
    let mut count = WordCount::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        let Ok(bytes) = job.input().read(&mut buffer);
        if bytes == 0 {
            break;
        }
        count.add(&buffer[..bytes]);
    }
    println!("{}", count.words());
}

//! Says hello.
#![no_std]
#![no_main]

use denali_guest::{Job, println};

denali_guest::main!(main);

fn main(job: &mut Job) {
    match job.arguments() {
        [] => println!("Hello from a Denali VM!"),
        names => println!("Hello, {}!", names.join(" ")),
    }
}

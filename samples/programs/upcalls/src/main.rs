//! Takes interrupts while it computes, and survives faults.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::{
    arch::asm,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use denali_guest::{
    Job,
    fault::{self, FaultContext, Resume},
    interrupt::{self, Causes},
    println,
};

denali_guest::main!(main);

static TICKS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

/// Enough that some come in the middle of an allocation, some in the middle of a division.
const TICKS_WANTED: u64 = 20;

fn on_interrupt(causes: Causes) {
    if causes.has(Causes::TIMER) {
        let numbers: Vec<u64> = (0..100).collect();
        ALLOCATED.fetch_add(numbers.iter().sum::<u64>() / 4950, Ordering::Relaxed);
        TICKS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Skips the instruction at fault, whose length the program below knows, with another result.
fn on_fault(context: &mut FaultContext) -> Resume {
    let bytes = match context.vector {
        0 => 3,
        14 if context.address < 0x1000 => 4,
        _ => return Resume::End,
    };
    context.rip += bytes;
    context.rax = 42;
    context.rcx = context.vector;
    Resume::Continue
}

fn main(_: &mut Job) {
    interrupt::on(on_interrupt);
    interrupt::every(Duration::from_millis(1));
    println!("primes below 200000: {}", primes(200_000));
    while TICKS.load(Ordering::Relaxed) < TICKS_WANTED {
        // Nothing is kept: the allocator is what is exercised.
        assert_eq!(primes(1000), 168);
    }
    let more = TICKS.load(Ordering::Relaxed) + 5;
    interrupt::wait(|| TICKS.load(Ordering::Relaxed) >= more);
    interrupt::stop_timer();
    println!("interrupted while computing: {}", TICKS.load(Ordering::Relaxed) >= TICKS_WANTED);
    let equal = interrupt::without(|| ALLOCATED.load(Ordering::Relaxed) == TICKS.load(Ordering::Relaxed));
    println!("allocated in the handler: {equal}");
    // SAFETY: the handler uses nothing, and the two instructions below expect what it leaves behind.
    unsafe { fault::on(on_fault) };
    println!("division by zero: vector {}, survived", divide());
    let (value, vector) = read();
    println!("read of 0x18: vector {vector}, gave {value}");
    println!("sum after all: {}", (1..=100_000_000u64).fold(0, |sum, n| core::hint::black_box(sum + n)));
}

/// The sieve of Eratosthenes.
fn primes(below: usize) -> usize {
    let mut composite = alloc::vec![false; below];
    let mut count = 0;
    for n in 2..below {
        if !composite[n] {
            count += 1;
            (n * n..below).step_by(n).for_each(|multiple| composite[multiple] = true);
        }
    }
    count
}

/// Divides by zero, and gives what the handler left: the vector.
fn divide() -> u64 {
    let vector;
    // SAFETY: the handler skips the three bytes of `div rcx`, and changes RAX and RCX.
    unsafe { asm!("div rcx", inout("rcx") 0u64 => vector, inout("rax") 7u64 => _, inout("rdx") 0u64 => _) };
    vector
}

/// Reads where nothing is, and gives what the handler left: the value and the vector.
fn read() -> (u64, u64) {
    let (value, vector);
    // SAFETY: the handler skips the four bytes of the read, and changes RAX and RCX.
    unsafe { asm!("mov rax, [rdx + 0x18]", in("rdx") 0u64, out("rax") value, out("rcx") vector) };
    (value, vector)
}

//! The computations of the samples: the same code runs in a VM and natively, so that the two can be compared.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chase;
pub mod mandelbrot;
pub mod matmul;
pub mod nbody;
pub mod primes;
pub mod suite;
pub mod words;

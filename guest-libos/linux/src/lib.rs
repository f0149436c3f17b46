//! The Linux personality of the Denali library OS: what an ordinary Linux program finds in a Denali VM instead of a kernel.
//!
//! Its system calls are function calls here: no exit, no privilege level. This crate is all of its logic and runs on any
//! host, so that it can be tested there; the image that runs in a VM is glue around it.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]

extern crate alloc;

pub mod bundle;
pub mod call;
pub mod elf;
pub mod errno;
pub mod fs;
pub mod mm;
mod net;
pub mod rewrite;
pub mod signal;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod thread;
pub mod vdso;

//! The Denali library OS: what a guest program links instead of an operating system.
//!
//! A program is a function of a [`Job`], made into an image by [`main!`]. Everything runs in one address space at the
//! lowest privilege; the boundary is the VM. `docs/guest.md` shows how to write and link one; the contract with the VMM
//! is the crate [`denali_abi`].
//!
//! | module | what |
//! |---|---|
//! | [`entry`] | start, exit status, panic message |
//! | [`job`] | arguments, input, outputs, files, progress |
//! | [`stream`] | reader and writers (`embedded-io`), `println!` |
//! | [`clock`] | time without an exit |
//! | [`interrupt`] | a handler for interrupts, and a timer |
//! | [`fault`] | a raw hook for the CPU's faults |
//! | [`random`] | ChaCha20, seeded for this VM |
//! | [`heap`] | the allocator |
//! | [`nic`] | the driver of the two rings |
//! | [`instruction`], [`vreg`] | the virtual instructions and registers themselves |
#![no_std]

extern crate alloc;

#[cfg(feature = "c")]
pub mod c;
mod cell;
mod channel;
pub mod clock;
pub mod entry;
pub mod fault;
pub mod heap;
pub mod instruction;
pub mod interrupt;
pub mod job;
#[cfg(not(test))]
pub mod memory;
pub mod nic;
pub mod random;
pub mod stream;
mod udp;
#[cfg(not(test))]
mod unwind;
mod upcall;
pub mod vreg;

pub use embedded_io;
pub use entry::exit;
pub use job::Job;
pub use stream::{Input, Output, OutputFile};

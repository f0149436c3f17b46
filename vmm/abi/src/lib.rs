//! The contract between the Denali VMM and its guests, version [`VERSION`].
//!
//! Constants and layouts only, no logic: both sides use this crate, and `docs/abi.md` says the same in prose for those
//! who write a library OS in another language. Each structure has one writer. What the guest writes is hostile input to
//! the VMM; what the VMM writes is truth to the guest.
//!
//! Source: the virtual architecture of the Denali isolation kernel (OSDI 2002, sections 2.2 and 3). The paper leaves
//! encodings and layouts open; these are ours.
#![no_std]
#![forbid(unsafe_code)]

pub mod instruction;
pub mod job;
pub mod memory;
pub mod registers;
pub mod ring;

/// Version of this contract. A guest refuses to run on a VMM with another one.
pub const VERSION: u32 = 1;

//! Fuzz bodies: plain functions that take any bytes, and panic where a parser breaks its word.
//!
//! Each is one file here, a thin target in `fuzz_targets/` for libFuzzer, a folder of seeds in `corpus/`, and a line in
//! [`BODIES`], by which stable tests replay the seeds and their mutations.
//!
//! ```text
//! cargo +nightly fuzz run bundle --features libfuzzer
//! ```
#![forbid(unsafe_code)]

mod bundle;
mod elf;
mod frames;
mod messages;
mod receipt;
mod ring;

pub use bundle::bundle;
pub use elf::elf;
pub use frames::frames;
pub use messages::messages;
pub use receipt::receipt;
pub use ring::ring;

/// A fuzz body.
pub type Body = fn(&[u8]);

/// Every body, by the name of its target and its folder in `corpus/`.
pub const BODIES: [(&str, Body); 6] = [
    ("bundle", bundle),
    ("elf", elf),
    ("frames", frames),
    ("messages", messages),
    ("receipt", receipt),
    ("ring", ring),
];

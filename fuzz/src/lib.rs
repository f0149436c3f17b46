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
mod linux_calls;
mod linux_elf;
mod linux_settings;
mod linux_tree;
mod messages;
mod receipt;
mod rewrite;
mod ring;

pub use bundle::bundle;
pub use elf::elf;
pub use frames::frames;
pub use linux_calls::linux_calls;
pub use linux_elf::linux_elf;
pub use linux_settings::linux_settings;
pub use linux_tree::linux_tree;
pub use messages::messages;
pub use receipt::receipt;
pub use rewrite::rewrite;
pub use ring::ring;

/// A fuzz body.
pub type Body = fn(&[u8]);

/// Every body, by the name of its target and its folder in `corpus/`.
pub const BODIES: [(&str, Body); 11] = [
    ("bundle", bundle),
    ("elf", elf),
    ("frames", frames),
    ("linux_calls", linux_calls),
    ("linux_elf", linux_elf),
    ("linux_settings", linux_settings),
    ("linux_tree", linux_tree),
    ("messages", messages),
    ("receipt", receipt),
    ("rewrite", rewrite),
    ("ring", ring),
];

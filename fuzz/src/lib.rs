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
mod manifest;
mod messages;
mod receipt;
mod rewrite;
mod ring;

pub use bundle::bundle;
pub use denali::testing::{collector, names, policy, queue, reports, spool, store_log, worker_link};
pub use denali_vmm::testing::{
    commands, gateway, gateway_race, protect, schedule, swap_block, swap_holes, swap_space, upcalls,
};
pub use elf::elf;
pub use frames::frames;
pub use linux_calls::linux_calls;
pub use linux_elf::linux_elf;
pub use linux_settings::linux_settings;
pub use linux_tree::linux_tree;
pub use manifest::manifest;
pub use messages::messages;
pub use receipt::receipt;
pub use rewrite::rewrite;
pub use ring::ring;

/// A fuzz body.
pub type Body = fn(&[u8]);

/// Every body, by the name of its target and its folder in `corpus/`.
pub const BODIES: [(&str, Body); 29] = [
    ("bundle", bundle),
    ("collector", collector),
    ("commands", commands),
    ("elf", elf),
    ("frames", frames),
    ("gateway", gateway),
    ("gateway_race", gateway_race),
    ("linux_calls", linux_calls),
    ("linux_elf", linux_elf),
    ("linux_settings", linux_settings),
    ("linux_tree", linux_tree),
    ("manifest", manifest),
    ("messages", messages),
    ("names", names),
    ("policy", policy),
    ("protect", protect),
    ("queue", queue),
    ("receipt", receipt),
    ("reports", reports),
    ("rewrite", rewrite),
    ("ring", ring),
    ("schedule", schedule),
    ("spool", spool),
    ("store_log", store_log),
    ("swap_block", swap_block),
    ("swap_holes", swap_holes),
    ("swap_space", swap_space),
    ("upcalls", upcalls),
    ("worker_link", worker_link),
];

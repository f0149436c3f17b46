//! Fuzz bodies for what is private to this crate: functions that take any bytes, and panic where a promise is broken. Each
//! stands beside what it is about, in a `fuzz.rs`.

pub use crate::{
    gateway::fuzz::{gateway, gateway_race},
    schedule::fuzz::schedule,
    swap::{swap_block, swap_holes, swap_space},
    vm::{protect, upcalls},
    worker::commands,
};

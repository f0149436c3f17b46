//! Fuzz bodies for what is private to this crate: functions that take any bytes, and panic where a promise is broken. Each
//! stands beside what it is about, in a `fuzz.rs`.

pub use crate::{
    client::{collect::fuzz::collector, target::fuzz::names},
    node::testing::{policy, queue, spool, store_log},
    worker::{reports, worker_link},
};

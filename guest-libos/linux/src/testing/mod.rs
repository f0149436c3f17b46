//! What the tests of this crate and fuzz bodies run programs on, on any host.
//!
//! Not in the image: there is the feature `testing` for it.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod memory;
mod native;
mod program;
mod snippet;

pub use memory::{ARENA, END, Memory, Outside, PROGRAM, Shared, WaitsForEver, console};
pub use native::{Done, compare};
pub use program::Program;

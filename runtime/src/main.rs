//! The denali command.
#![forbid(unsafe_code)]
fn main() {}

//! Tests of the address space, on pages that check how they are used.

mod hostile;
mod machine;
mod model;
mod step;
mod unit;

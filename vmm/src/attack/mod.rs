//! Attacks on the boundary, on purpose: whole VMs with hostile guests, one after the other, in the calling process. They run
//! in exactly what real jobs run in: hardware, images, rings, gateway, upcalls, limits.
//!
//! A [`Case`] is a guest program with all that is done to its VM. The generator makes one of a seed ([`of_seed`]) or of an
//! external fuzzer's bytes ([`of_bytes`]); a [`Target`] runs it and judges what came: a [`Verdict`], with a [`Finding`] for
//! each promise that was broken. See `docs/attack.md`.
//!
//! | module | what |
//! |---|---|
//! | `case`, `op`, `special`, `frames` | a guest program, and what it is made of |
//! | `source`, `generate` | from choices to a program |
//! | `target`, `entry`, `course` | the VM, its state at the entry, and what happens to it while the program runs |
//! | `judge`, `verdict` | what came of it |
//! | `trace`, `truth`, `forecast` | what it did; whether that is what is said, and what it should do |
//! | `leftovers`, `neighbour`, `guards` | what may not be changed |
//! | `features` | feedback for fuzzers |
//! | `attacker`, `reproduction` | a campaign's programs, and files of those that broke a promise |
//! | `resources` | what a campaign has to give back |

mod assembler;
mod attacker;
mod case;
mod course;
mod entry;
mod features;
mod forecast;
mod frames;
mod generate;
mod guards;
mod judge;
mod layout;
mod leftovers;
mod neighbour;
mod op;
mod reproduction;
mod resources;
mod source;
mod special;
mod target;
mod trace;
mod truth;
mod verdict;

pub use attacker::{Attacker, Tally};
pub use case::{CPU_TIME_US, Case, Event, Happening, Program, RAW_CPU_TIME_US, TooLong};
pub use features::FEATURES;
pub use generate::{of_bytes, of_seed};
pub use op::{Branch, Op, Width};
pub use reproduction::{REPRODUCTION_BYTES, Reproduction, ReproductionError};
pub use resources::Resources;
pub use target::{INSPECTION_INTERVAL, Target};
pub use trace::{Left, Step, Trace, same_end};
pub use verdict::{AttackError, Finding, Oracle, Verdict};

#[cfg(test)]
mod tests;

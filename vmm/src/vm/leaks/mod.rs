//! The leak suite: nothing of a job is left for the next one in the same hardware.
//!
//! One guest plays both parts (`guest.s`). As the *writer* it fills with a pattern everything that a guest can write, and
//! ends in one of all possible ways. As the *reader* it stores its virtual CPU with its very first instructions, then reads
//! all memory, tries all page rights, and reports what it saw: that must be what the reader sees in hardware that no job
//! ever used. For each part of putting hardware back there is a switch that leaves it out ([`crate::sabotage`]), and a test
//! that the suite then names what leaked.
//!
//! Nor is anything left where the writer's worker process ends while its VM is there, killed or not, and another one goes on.
//!
//! What a guest can't see is compared too: after each reset all memory and the VMM's own pages are as in the template.

mod bench;
mod endings;
mod guest;
mod restart;
mod sabotage;
mod sight;
mod tests;
mod worker;

pub(super) use sabotage::{
    cpu_with_left_out, pages_without_left_out, registers_with_left_out, remember, tables_without_left_out,
};

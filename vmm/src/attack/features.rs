//! Feedback for fuzzers: what a program reached, as small numbers that a coverage map can hold.

use super::trace::{Left, Step, Trace};
use denali_protocol::job::{FaultCause, Outcome};
use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
};
use twox_hash::XxHash3_64;

/// Features are numbers below this.
pub const FEATURES: usize = 4096;

/// The features of a run, ascending.
pub(super) fn features(outcome: &Outcome, trace: &Trace) -> Vec<u16> {
    let mut found = BTreeSet::new();
    let mut before = 0;
    for step in &trace.steps {
        let kind = kind(step);
        found.insert(number(("step", kind)));
        found.insert(number(("pair", before, kind)));
        found.insert(number(("rings", step.positions.map(size))));
        before = kind;
    }
    found.insert(number(("end", before, end(outcome))));
    found.insert(number(("exits", size(trace.entries))));
    found.into_iter().collect()
}

fn number(feature: impl Hash) -> u16 {
    let mut hasher = XxHash3_64::with_seed(0);
    feature.hash(&mut hasher);
    (hasher.finish() % FEATURES as u64) as u16
}

/// Values that differ by less than half are one.
fn size(value: u64) -> (u32, bool) {
    (64 - value.leading_zeros(), value.is_multiple_of(8))
}

fn kind(step: &Step) -> u64 {
    match step.left {
        Left::Out(port, plain, _) if (0xd0..=0xe0).contains(&port) => 0x1000 | u64::from(port) << 1 | u64::from(plain),
        Left::Out(port, plain, _) => 0x2000 | u64::from(port >> 12) << 1 | u64::from(plain),
        Left::In(port) => 0x3000 | u64::from(port >> 12),
        Left::Exception(vector, code, _) => 0x4000 | u64::from(vector) << 5 | code & 0x1f,
        Left::SystemCall => 0x5000,
        Left::Mmio(_) => 0x5001,
        Left::Interrupted => 0x5002,
        Left::Shutdown => 0x5003,
        Left::Host => 0x5004,
        Left::Stray => 0x5005,
    }
}

fn end(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Fault(fault) => match &fault.cause {
            FaultCause::Page { .. } => "page",
            FaultCause::StackOverflow { .. } => "stack",
            FaultCause::Divide => "divide",
            FaultCause::InvalidInstruction => "invalid",
            FaultCause::Protection => "protection",
            FaultCause::SystemCall => "system call",
            FaultCause::Exception { .. } => "exception",
            FaultCause::UnknownPort { .. } => "port",
            FaultCause::VirtualInstruction { .. } => "instruction",
            FaultCause::Nic { .. } => "ring",
            FaultCause::JobChannel { .. } => "channel",
            FaultCause::Shutdown => "shutdown",
            FaultCause::Upcall { .. } => "upcall",
        },
        outcome => outcome.word(),
    }
}

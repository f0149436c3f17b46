//! What became of the sites.

use alloc::vec::Vec;

use super::text::Trap;

/// Why a site still traps: slow, and right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It returns from a signal handler, and is left alone by intent: no table says what it is, so unwinders know it by its bytes.
    SignalReturn,
    /// It has a prefix without meaning.
    Prefixed,
    /// It may be data: decoding came to no one result.
    Unsure,
    /// Too little code around it that can be displaced.
    Crowded,
    /// A jump lands on what would be overwritten.
    JumpInside,
    /// A computed jump of its function may land there.
    ComputedJump,
    /// Its function's extent is not known, so that a computed jump may land there.
    UnknownFunction,
    /// Stub, handler or operand is too far from it.
    OutOfReach,
    /// No room is left for its stub.
    AreaFull,
}

/// A site that was not patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Of the instruction.
    pub address: u64,
    /// Which instruction it is.
    pub trap: Trap,
    /// Why.
    pub reason: Reason,
}

/// What became of the sites of a text.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// System calls that were patched.
    pub syscalls: usize,
    /// CPUID instructions that were patched.
    pub cpuids: usize,
    /// Byte pairs that are no instruction.
    pub false_sites: usize,
    /// Sites that still trap, by address.
    pub refused: Vec<Refused>,
    /// There were more candidates than are looked at.
    pub truncated: bool,
}

impl Report {
    /// Patched sites.
    #[must_use]
    pub fn patched(&self) -> usize {
        self.syscalls + self.cpuids
    }

    /// Instructions that were found, those aside that are left alone by intent.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.patched() + self.refused.iter().filter(|refused| refused.reason != Reason::SignalReturn).count()
    }

    /// Sites that were refused for `reason`.
    #[must_use]
    pub fn count(&self, reason: Reason) -> usize {
        self.refused.iter().filter(|refused| refused.reason == reason).count()
    }
}

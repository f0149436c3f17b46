//! What a job may use, and what it used.

use serde::{Deserialize, Serialize};

/// What one job may use. Every one of these is enforced, and reported when hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the VM, in bytes.
    pub memory_bytes: u64,
    /// CPU time, in microseconds.
    pub cpu_time_us: u64,
    /// Time from the VM's first instruction to its end, in microseconds.
    pub wall_time_us: u64,
    /// Standard output, standard error and named output files together, in bytes.
    pub output_bytes: u64,
}

/// How often a VM left for the VMM, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Exits {
    /// IDLE.
    pub idle: u64,
    /// TERMINATE: one at the end of a job that ended itself.
    pub terminate: u64,
    /// PROTECT.
    pub protect: u64,
    /// CHECKPOINT.
    pub checkpoint: u64,
    /// Faults.
    pub fault: u64,
    /// Interruptions by the VMM, to enforce a limit.
    pub interrupted: u64,
    /// KICK.
    pub kicks: u64,
}

impl Exits {
    /// Adds those of another VM.
    pub fn add(&mut self, other: &Self) {
        let Self { idle, terminate, protect, checkpoint, fault, interrupted, kicks } = other;
        for (sum, more) in [
            (&mut self.idle, idle),
            (&mut self.terminate, terminate),
            (&mut self.protect, protect),
            (&mut self.checkpoint, checkpoint),
            (&mut self.fault, fault),
            (&mut self.interrupted, interrupted),
            (&mut self.kicks, kicks),
        ] {
            *sum = sum.saturating_add(*more);
        }
    }
}

/// What a job used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of the VM, in microseconds.
    pub cpu_us: u64,
    /// From the first instruction to the end, in microseconds.
    pub wall_us: u64,
    /// To build the VM, before its first instruction, in microseconds.
    pub start_us: u64,
    /// Most memory the VM held, in KiB; 0 if the host did not tell.
    pub memory_peak_kib: u64,
    /// Exits by kind.
    pub exits: Exits,
}

//! How a job ends.

use super::Fault;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Clock {
    /// CPU time used by the VM.
    Cpu,
    /// Time passed.
    Wall,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Wall => "wall",
        })
    }
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The program ended itself with this status.
    Exited(u8),
    /// A time limit was reached.
    TimeLimit {
        /// Which clock ran out.
        clock: Clock,
        /// The limit, in microseconds.
        limit_us: u64,
    },
    /// The program asked for more memory than the VM has.
    MemoryLimit {
        /// The VM's memory, in bytes.
        limit_bytes: u64,
    },
    /// The program wrote more output than it may.
    OutputLimit {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The program did what no VM may do.
    Fault(Fault),
    /// The client cancelled it.
    Cancelled,
    /// The image could not be started. The bundle is at fault.
    Unstartable(String),
    /// The node lost the VM (its worker died, or its hypervisor failed) more often than it tries again.
    Lost(String),
}

impl Outcome {
    /// The exit status that a command-line tool reports: the job's own, else 124 for a limit of time, 137 for a limit of
    /// memory or output, 139 for a fault, 125 for everything that is not the program's doing.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Exited(status) => *status,
            Self::TimeLimit { .. } => 124,
            Self::MemoryLimit { .. } | Self::OutputLimit { .. } => 137,
            Self::Fault(_) => 139,
            Self::Cancelled | Self::Unstartable(_) | Self::Lost(_) => 125,
        }
    }

    /// One word for scripts: `exited`, `time-limit`, `memory-limit`, `output-limit`, `fault`, `cancelled`,
    /// `unstartable`, `lost`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::TimeLimit { .. } => "time-limit",
            Self::MemoryLimit { .. } => "memory-limit",
            Self::OutputLimit { .. } => "output-limit",
            Self::Fault(_) => "fault",
            Self::Cancelled => "cancelled",
            Self::Unstartable(_) => "unstartable",
            Self::Lost(_) => "lost",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::TimeLimit { clock, limit_us } => {
                write!(f, "reached its limit of {} ms {clock} time", limit_us / 1000)
            }
            Self::MemoryLimit { limit_bytes } => write!(f, "ran out of its {} KiB of memory", limit_bytes / 1024),
            Self::OutputLimit { limit_bytes } => write!(f, "wrote more than its limit of {limit_bytes} output bytes"),
            Self::Fault(fault) => write!(f, "fault: {fault}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Unstartable(why) => write!(f, "could not be started: {why}"),
            Self::Lost(why) => write!(f, "lost: {why}"),
        }
    }
}

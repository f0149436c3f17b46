//! What a job is called, what it may use, how it ended and what it used.

use crate::{digest::Digest, limits};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of a job or of an array of jobs, unique for one client: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first
/// of them a letter or digit. Submitting twice under one name runs once.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// The text is not a job name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a job id has 1 to 64 characters of A-Z a-z 0-9 . _ - and starts with a letter or digit")]
pub struct ParseJobIdError;

impl FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let fits = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if starts_well && fits { Ok(Self(text.to_owned())) } else { Err(ParseJobIdError) }
    }
}

impl TryFrom<String> for JobId {
    type Error = ParseJobIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JobId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The indices of an array, both ends included. A single job is the array `0-0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Indices {
    /// First index.
    pub first: u32,
    /// Last index, not below `first`.
    pub last: u32,
}

/// The text is not an index range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IndicesError {
    /// Not `N` or `FIRST-LAST`.
    #[error("expected FIRST-LAST, such as 0-63")]
    Syntax,
    /// `last` is below `first`.
    #[error("the last index is below the first")]
    Backwards,
    /// More jobs than one array may have.
    #[error("{jobs} jobs, more than the limit of {} an array", limits::ARRAY_JOBS)]
    TooMany {
        /// Jobs asked for.
        jobs: u64,
    },
}

impl Indices {
    /// The indices of a single job.
    pub const SINGLE: Self = Self { first: 0, last: 0 };

    /// Checks order and count: a peer may have sent anything.
    ///
    /// # Errors
    /// [`IndicesError`] when the range is backwards or too large.
    pub fn check(&self) -> Result<(), IndicesError> {
        if self.last < self.first {
            return Err(IndicesError::Backwards);
        }
        let jobs = u64::from(self.last) - u64::from(self.first) + 1;
        if jobs > u64::from(limits::ARRAY_JOBS) {
            return Err(IndicesError::TooMany { jobs });
        }
        Ok(())
    }

    /// Number of jobs. Zero only for a range that [`Indices::check`] refuses.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.last.checked_sub(self.first).map_or(0, |n| n.saturating_add(1))
    }

    /// The indices in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        self.first..=self.last
    }

    /// Whether `index` is one of them.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

impl FromStr for Indices {
    type Err = IndicesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |part: &str| part.parse::<u32>().map_err(|_| IndicesError::Syntax);
        let indices = Self { first: number(first)?, last: number(last)? };
        indices.check()?;
        Ok(indices)
    }
}

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

/// Where a piece of output belongs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Channel {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// A named output file.
    File(String),
}

/// Which time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Clock {
    /// CPU time used by the VM.
    Cpu,
    /// Time passed.
    Wall,
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
    /// The node lost the VM (its worker died) more often than it tries again.
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
            Self::TimeLimit { clock: Clock::Cpu, limit_us } => {
                write!(f, "reached its limit of {} ms CPU time", limit_us / 1000)
            }
            Self::TimeLimit { clock: Clock::Wall, limit_us } => {
                write!(f, "reached its limit of {} ms wall time", limit_us / 1000)
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

/// What a guest did that ends its VM, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What it did.
    pub cause: FaultCause,
    /// The guest's instruction pointer.
    pub instruction_pointer: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at instruction {:#x}", self.cause, self.instruction_pointer)
    }
}

/// How a guest touched memory that it may not touch so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// The causes of a fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FaultCause {
    /// Memory that is not mapped, or not for this access.
    Page {
        /// The address touched.
        address: u64,
        /// How it was touched.
        access: Access,
    },
    /// As [`FaultCause::Page`], in the guard area below the stack.
    StackOverflow {
        /// The address touched.
        address: u64,
    },
    /// Division by zero or out of range.
    Divide,
    /// An instruction that does not exist.
    InvalidInstruction,
    /// A privileged instruction, a non-canonical address, and whatever else the CPU forbids.
    Protection,
    /// The `syscall` instruction, which no one serves.
    SystemCall,
    /// Another exception of the CPU.
    Exception {
        /// Vector, 0 to 31.
        vector: u8,
    },
    /// A port that is no virtual instruction.
    UnknownPort {
        /// The port.
        port: u16,
    },
    /// A virtual instruction with arguments out of range.
    VirtualInstruction {
        /// Name of the instruction.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The guest's side of a NIC ring holds what cannot be.
    Nic {
        /// What is wrong with it.
        detail: String,
    },
    /// The guest broke the rules of the job channel.
    JobChannel {
        /// What is wrong.
        detail: String,
    },
    /// The virtual CPU can't go on (a triple fault, or an internal error of the hypervisor).
    Shutdown,
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page { address, access } => {
                let verb = match access {
                    Access::Read => "read of",
                    Access::Write => "write to",
                    Access::Execute => "jump to",
                };
                write!(f, "{verb} {address:#x}, which the program may not touch so,")
            }
            Self::StackOverflow { address } => write!(f, "stack overflow ({address:#x} is below the stack)"),
            Self::Divide => f.write_str("division error"),
            Self::InvalidInstruction => f.write_str("invalid instruction"),
            Self::Protection => f.write_str("protection violation (privileged instruction or impossible address)"),
            Self::SystemCall => f.write_str("system call: no kernel is there to serve it"),
            Self::Exception { vector } => write!(f, "CPU exception {vector}"),
            Self::UnknownPort { port } => write!(f, "access to port {port:#x}, which is no virtual instruction,"),
            Self::VirtualInstruction { name, detail } => write!(f, "bad {name}: {detail}"),
            Self::Nic { detail } => write!(f, "bad NIC ring: {detail}"),
            Self::JobChannel { detail } => write!(f, "bad job channel message: {detail}"),
            Self::Shutdown => f.write_str("the virtual CPU shut down"),
        }
    }
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
    /// KICK. These stay in the host kernel and are no exits to the VMM.
    pub kicks: u64,
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
    /// Most memory the VM held, in KiB.
    pub memory_peak_kib: u64,
    /// Exits by kind.
    pub exits: Exits,
}

/// The name of one VM, unique for its node: never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct VmId(pub u64);

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Length and digest of one channel's output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChannelDigest {
    /// The channel.
    pub channel: Channel,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// What a job put out: standard output first, then standard error, then its files by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OutputDigests(pub Vec<ChannelDigest>);

impl OutputDigests {
    /// One digest of all: SHA-256 over the encoded table of lengths and digests.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Encoding fails only above the limit, and `FILES` names of `NAME_BYTES` stay far below it.
        Digest::of(&crate::codec::encode(self, limits::FRAME_BYTES).unwrap_or_default())
    }
}

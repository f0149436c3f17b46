//! What a node and its worker say to each other: frames (see [`denali_protocol::wire::frame`]) on a Unix stream socket.
//!
//! The worker trusts the node. The node trusts nothing that a worker says: a guest may have taken it over.

use denali_protocol::{
    digest::Digest,
    job::{Channel, Exits, Limits, Outcome, Usage, VmId},
    receipt::StartPath,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Names one run of a job on one worker. Chosen by the node, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// From the node to the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Start a VM now. With the frame come (`SCM_RIGHTS`) the bundle's content, readable by `mmap` and not to
    /// change any more (a sealed memfd, or a file of the store); and, with [`Input::Descriptor`], the job's input, a file or a
    /// pipe, read from its current position to its end.
    Start(Start),
    /// End this run, as [`Outcome::Cancelled`]. Of a run that has ended: nothing.
    Cancel(RunId),
    /// More input for a run that was started with [`Input::Messages`]. Of another, or one that has ended: nothing. A run whose VM
    /// leaves more than a MiB of it unread ends as [`Outcome::Lost`].
    Input {
        /// The run.
        run: RunId,
        /// The bytes.
        #[serde(with = "denali_protocol::codec::bytes")]
        bytes: Vec<u8>,
        /// Whether this is the last of it.
        end: bool,
    },
    /// Run VMs on at most so many CPUs at once. At the start: as many as the host has.
    Cpus(u32),
    /// Take about so many bytes of memory, 8 MiB or a third of it for the worker itself: VMs that idle longest are swapped out,
    /// and who comes waits for room. At the start: no bound.
    Memory(u64),
    /// Swap VMs out into the file whose descriptor comes with the frame, which is this worker's alone, up to so many bytes.
    /// At most once; without it no VM is swapped out.
    Swap(u64),
}

/// How a job's input comes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Input {
    /// Here it is: a small one, or none.
    Bytes(#[serde(with = "denali_protocol::codec::bytes")] Vec<u8>),
    /// From the second descriptor that came with the command.
    Descriptor,
    /// By [`Command::Input`].
    Messages,
}

/// A job to start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// Digest of the bundle's content, checked by the node: the worker keeps prepared images by it.
    pub bundle: Digest,
    /// The arguments.
    pub arguments: Vec<String>,
    /// What the job may use.
    pub limits: Limits,
    /// How its input comes.
    pub input: Input,
    /// Whether it may run in a VM that an earlier job of the same bundle ran in, put back to its start.
    pub reimage: bool,
}

/// From the worker to the node. For each run: `Started`, any number of `Output` and `Progress`, `Ended`; or `Ended`
/// alone where no VM could be started. Runs are interleaved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Report {
    /// The first report: the worker is ready, in a jail that lacks this, or says what this host lacks for VMs.
    Ready(Result<Vec<Lack>, String>),
    /// A VM runs the job.
    Started {
        /// The run.
        run: RunId,
        /// Its VM.
        vm: VmId,
        /// How that was made.
        path: StartPath,
    },
    /// A piece of output, at most [`denali_protocol::limits::OUTPUT_PIECE_BYTES`].
    Output {
        /// The run.
        run: RunId,
        /// Where it belongs.
        channel: Channel,
        /// The bytes.
        #[serde(with = "denali_protocol::codec::bytes")]
        bytes: Vec<u8>,
    },
    /// How far the job is.
    Progress {
        /// The run.
        run: RunId,
        /// Thousandths done.
        permille: u16,
    },
    /// How the worker's VMs are: after a change, at most every [`STATUS_INTERVAL`].
    Status(Box<Status>),
    /// The run is over: its VM will not run again.
    Ended {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
        /// What it used.
        usage: Usage,
    },
}

/// A measure of the jail that this host refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lack {
    /// The measure.
    pub measure: Measure,
    /// What the system said.
    pub why: String,
}

/// A measure of the jail that a host may not have. Seccomp, no new privileges and no capabilities are not among them: a
/// worker that can't have these does not start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Measure {
    /// Users of its own.
    Users,
    /// Mounts of its own.
    Mounts,
    /// An empty root directory.
    Root,
    /// A network of its own, with nothing on it.
    Network,
    /// System V objects and message queues of its own.
    Ipc,
    /// A host name of its own.
    Uts,
    /// Control groups of its own to see.
    ControlGroups,
    /// Processes of its own to see.
    Processes,
    /// Landlock: no file may be opened, whatever else fails.
    Landlock,
    /// A control group that bounds it. The node's to give, so no worker tells of it.
    Limits,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "users of its own",
            Self::Mounts => "mounts of its own",
            Self::Root => "an empty root directory",
            Self::Network => "a network of its own",
            Self::Ipc => "message queues of its own",
            Self::Uts => "a host name of its own",
            Self::ControlGroups => "control groups of its own to see",
            Self::Processes => "processes of its own to see",
            Self::Landlock => "Landlock",
            Self::Limits => "limits by a control group",
        })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.measure, self.why)
    }
}

/// How often a worker tells its [`Status`] at the most.
pub const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// How a worker's VMs are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Runs that want a CPU and have none.
    pub runnable: u32,
    /// Runs that have one.
    pub running: u32,
    /// Runs whose VM idles, in memory.
    pub idle: u32,
    /// Runs whose VM idles, on disk.
    pub swapped: u32,
    /// KiB of VMs' own memory, as last measured of each.
    pub memory_kib: u64,
    /// Bytes in the swap file.
    pub swap_bytes: u64,
    /// What happened since the worker's start.
    pub counts: Counts,
}

/// What happened since a worker's start. All of it only grows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Turns that VMs were given.
    pub turns: u64,
    /// VMs in which no job ran before.
    pub new: u64,
    /// Of these, such as were made before they were needed.
    pub ready: u64,
    /// VMs in which earlier jobs ran.
    pub reimaged: u64,
    /// Copies taken at a CHECKPOINT.
    pub copies: u64,
    /// VMs that ended.
    pub ended: u64,
    /// VMs swapped out.
    pub swapped_out: u64,
    /// VMs brought back.
    pub swapped_in: u64,
    /// Times that a VM could not be written to disk, and stayed, or not be brought back, and was lost.
    pub swap_failures: u64,
    /// Exits of VMs that ended, by kind.
    pub exits: Exits,
    /// From a job's command to its VM's first instruction.
    pub start: Histogram,
    /// From the event that wakes an idle VM to its next instruction.
    pub wake: Histogram,
    /// To bring a VM back from disk, a part of that.
    pub swap_in: Histogram,
    /// To swap one out.
    pub swap_out: Histogram,
}

/// Durations, counted by powers of two: place `n` counts those of 2ⁿ⁻¹ to 2ⁿ - 1 µs, place 0 those below 1 µs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Histogram(pub [u64; 32]);

impl Histogram {
    /// Counts one.
    pub fn note(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0[(64 - us.leading_zeros() as usize).min(31)] += 1;
    }
}

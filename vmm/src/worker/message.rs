//! What a node and its worker say to each other: frames (see [`denali_protocol::wire::frame`]) on a Unix stream socket.
//!
//! The worker trusts the node. The node trusts nothing that a worker says: a guest may have taken it over.

use denali_protocol::{
    digest::Digest,
    job::{Channel, Limits, Outcome, Usage, VmId},
    receipt::StartPath,
};
use serde::{Deserialize, Serialize};

/// Names one run of a job on one worker. Chosen by the node, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// From the node to the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Start a VM now. Two descriptors come with the frame (`SCM_RIGHTS`): the bundle's content, readable by `mmap`
    /// and not to change any more (a sealed memfd, or a file of the store); and the job's input, a file or a pipe, read from its
    /// current position to its end.
    Start(Start),
    /// End this run, as [`Outcome::Cancelled`]. Of a run that has ended: nothing.
    Cancel(RunId),
    /// More input for a run that was started with [`InputKind::Messages`]. Of another, or one that has ended: nothing.
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
}

/// How a job's input comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum InputKind {
    /// From the descriptor that came with the command.
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
    pub input: InputKind,
    /// Whether it may run in a VM that an earlier job of the same bundle ran in, put back to its start.
    pub reimage: bool,
}

/// From the worker to the node. For each run: `Started`, any number of `Output` and `Progress`, `Ended`; or `Ended`
/// alone where no VM could be started. Runs are interleaved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Report {
    /// The first report: the worker is ready, or says what this host lacks.
    Ready(Result<(), String>),
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
    /// The run is over: its VM will not run again, and its memory is given back within milliseconds.
    Ended {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
        /// What it used.
        usage: Usage,
    },
}

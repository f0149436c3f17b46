//! The messages between client and node.
//!
//! | request | raw bytes after it | answer |
//! |---|---|---|
//! | [`Request::Info`] | | [`Response::Info`] |
//! | [`Request::Submit`] | the input; after [`Response::NeedBundle`], the bundle's content | [`Response::Accepted`], then events if attached |
//! | [`Request::Follow`] | | [`Response::Event`]s until [`Event::Done`] |
//! | [`Request::Status`] | | [`Response::Status`] |
//! | [`Request::List`] | | [`Response::List`] |
//! | [`Request::Result`] | | [`Response::Result`], then the raw bytes of each channel in its order |
//! | [`Request::Cancel`] | | [`Response::Status`] |
//! | [`Request::Echo`] | | [`Response::Echo`] |
//! | [`Request::Top`] | | [`Response::Top`] |
//!
//! Any of them may be answered by [`Response::Refused`].

use crate::{
    bundle::CpuModel,
    codec,
    digest::Digest,
    identity::PublicKey,
    job::{Channel, JobId, Limits, Outcome, OutputDigests, Usage, VmId},
    receipt::Receipt,
};
use serde::{Deserialize, Serialize};

pub use super::{
    submit::{Submit, SubmitError, check_arguments},
    top::Top,
};

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// What node is this, and what does it grant me?
    Info,
    /// Run this.
    Submit(Submit),
    /// Tell me how this goes on, from the start.
    Follow(JobId),
    /// Where does this stand?
    Status(JobId),
    /// Which jobs of mine are here? Answered in the order of names, after the one given.
    List {
        /// The last name of the page before.
        after: Option<JobId>,
    },
    /// Give me the outputs of one job.
    Result {
        /// The job or array.
        job: JobId,
        /// Its index; 0 for a single job.
        index: u32,
    },
    /// Stop this, and do not start what has not started.
    Cancel(JobId),
    /// Send these bytes back, at most [`crate::limits::ECHO_BYTES`]. For measuring.
    Echo(#[serde(with = "codec::bytes")] Vec<u8>),
    /// What do you do at this moment? Other clients are named to operators alone.
    Top,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Info`].
    Info(NodeInfo),
    /// Send the bundle's content now: the node does not have it.
    NeedBundle,
    /// The job is on the node's disk. It will be run or reported.
    Accepted {
        /// False when the same job was accepted before: nothing runs twice.
        new: bool,
    },
    /// To [`Request::Status`] and [`Request::Cancel`].
    Status(JobStatus),
    /// To [`Request::List`]: a page, and whether more follow.
    List {
        /// The jobs, in the order of names.
        jobs: Vec<JobStatus>,
        /// Whether names after the last one exist.
        more: bool,
    },
    /// To [`Request::Result`].
    Result(JobResult),
    /// Something happened to a job that the client follows.
    Event(Event),
    /// To [`Request::Echo`].
    Echo(#[serde(with = "codec::bytes")] Vec<u8>),
    /// No, and why.
    Refused(Refusal),
    /// To [`Request::Top`].
    Top(Box<Top>),
}

/// A node as it presents itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its key.
    pub node: PublicKey,
    /// Its software version.
    pub version: String,
    /// The most capable CPU model it offers.
    pub cpu: CpuModel,
    /// How many VMs it runs at once.
    pub slots: u32,
    /// The largest limits that it grants this client for an unsigned bundle; absent where it denies them.
    pub unsigned: Option<Limits>,
    /// What its host did not give for the jail that jobs are held in, in words; nothing where it is whole.
    pub jail_lacks: Vec<String>,
    /// Why no control group limits each client's share of its host, in words; absent where one does.
    pub unbounded: Option<String>,
}

/// Where a job or an array stands: how many of its jobs are in which state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobStatus {
    /// The name.
    pub job: JobId,
    /// The bundle.
    pub bundle: Digest,
    /// The bundle's name.
    pub name: String,
    /// Jobs that wait for a VM.
    pub queued: u32,
    /// Jobs that run.
    pub running: u32,
    /// Jobs that exited with status 0.
    pub succeeded: u32,
    /// Jobs that ended any other way.
    pub failed: u32,
    /// When it was accepted, in milliseconds since 1970 (UTC) by the node's clock.
    pub accepted_unix_ms: u64,
}

/// What happens to a followed job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A VM was started for this index. Output received for it before belongs to a lost try: forget it.
    Started {
        /// The index.
        index: u32,
    },
    /// A piece of its output, at most [`crate::limits::OUTPUT_PIECE_BYTES`].
    Output {
        /// The index.
        index: u32,
        /// Where it belongs.
        channel: Channel,
        /// The bytes.
        #[serde(with = "codec::bytes")]
        bytes: Vec<u8>,
    },
    /// The program says how far it is.
    Progress {
        /// The index.
        index: u32,
        /// Thousandths done, 0 to 1000.
        permille: u16,
    },
    /// It ended, and its result is on the node's disk. All of its output was sent before.
    Ended(JobResult),
    /// All have ended. The last event.
    Done,
}

/// The result of one job, without the output bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobResult {
    /// Its index.
    pub index: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Its VM; absent when none was started.
    pub vm: Option<VmId>,
    /// What it put out.
    pub outputs: OutputDigests,
    /// The node's receipt.
    pub receipt: Receipt,
}

/// Why a node says no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Who is at fault, and so whether to try again.
    pub kind: RefusalKind,
    /// What is wrong, with the limit where there is one, and what to do.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RefusalKind {
    /// The request or the bundle is broken: sending it again won't help.
    Invalid,
    /// The node's policy does not allow it.
    Denied,
    /// No such job, or its result has expired.
    NotFound,
    /// The name is taken by another job of this client.
    Conflict,
    /// The job has not ended yet.
    NotReady,
    /// The node is full (queue, disk): try later.
    Busy,
    /// The node failed.
    Internal,
}

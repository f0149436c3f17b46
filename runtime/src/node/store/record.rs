//! What the store keeps, and the keys that it is kept under.
//!
//! A key starts with the client and the job's name; since no name holds a zero byte, the results of a job, which follow
//! after one, are the keys between `name 0` and `name 1`. Large bytes (input, output) follow the encoded record raw.

use denali_protocol::{
    codec::{self, DecodeError, EncodeError},
    digest::Digest,
    identity::PublicKey,
    job::{Indices, JobId, Limits},
    wire::message::{JobResult, Submit},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest encoded record without raw bytes: a submission's arguments or a result's table of output files.
const RECORD_BYTES: usize = 512 * 1024;

/// Inputs up to this length are kept in the job's record instead of a file of their own: one `fsync` less.
pub(crate) const INLINE_INPUT_BYTES: u64 = 64 * 1024;

/// The name of a job or an array: unique for one client.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct JobKey {
    /// The client.
    pub(crate) client: PublicKey,
    /// Its name for the job.
    pub(crate) job: JobId,
}

impl JobKey {
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.client.0.as_slice(), self.job.as_str().as_bytes()].concat()
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (client, job) = bytes.split_first_chunk::<32>()?;
        Some(Self { client: PublicKey(*client), job: std::str::from_utf8(job).ok()?.parse().ok()? })
    }

    pub(super) fn result_bytes(&self, index: u32) -> Vec<u8> {
        [self.bytes().as_slice(), &[0], &index.to_be_bytes()].concat()
    }
}

/// An accepted job or array.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    /// The bundle.
    pub(crate) bundle: Digest,
    /// The bundle's name.
    pub(crate) name: String,
    /// Arguments, before `{index}` is replaced.
    pub(crate) arguments: Vec<String>,
    /// The indices.
    pub(crate) indices: Indices,
    /// Length of the input.
    pub(crate) input_bytes: u64,
    /// Digest of the input.
    pub(crate) input: Digest,
    /// What each job may use.
    pub(crate) limits: Limits,
    /// VMs of the client at once.
    pub(crate) vms: u32,
    /// When it was accepted, in µs since 1970. Of all that ever had its name no other was accepted just then: before a name is
    /// free, the disk has to have all of the job.
    pub(crate) accepted_unix_us: u64,
}

impl JobRecord {
    /// Whether a submission under this record's name asks for the very same.
    pub(crate) fn is_same(&self, submit: &Submit) -> bool {
        self.bundle == submit.bundle
            && self.arguments == submit.arguments
            && self.indices == submit.indices
            && self.input == submit.input
            && self.input_bytes == submit.input_bytes
    }

    /// Whether the input is in the record.
    pub(crate) fn has_inline_input(&self) -> bool {
        self.input_bytes <= INLINE_INPUT_BYTES
    }
}

/// Where the output bytes of a result are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum OutputPlace {
    /// After the record: the channels one after another.
    Inline,
    /// In a file of this name below `outputs/`, as pieces in the order of their arrival (see `spool`).
    File(String),
}

/// The result of one job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ResultRecord {
    /// What the client gets.
    pub(crate) result: JobResult,
    /// The run that gave it; absent when none was started, or its output was not kept. Tells a follower whether it saw
    /// this one's output.
    pub(crate) run: Option<u64>,
    /// Where its output is.
    pub(crate) place: OutputPlace,
}

/// How many jobs of an array have ended, and whether the rest is to be cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    /// Exited with 0.
    pub(crate) succeeded: u32,
    /// Ended otherwise.
    pub(crate) failed: u32,
    /// The client cancelled it.
    pub(crate) cancelled: bool,
}

impl Totals {
    pub(super) fn to_value(self) -> (u32, u32, bool) {
        (self.succeeded, self.failed, self.cancelled)
    }

    pub(super) fn from_value((succeeded, failed, cancelled): (u32, u32, bool)) -> Self {
        Self { succeeded, failed, cancelled }
    }

    /// Jobs that have ended.
    pub(crate) fn ended(&self) -> u32 {
        self.succeeded.saturating_add(self.failed)
    }
}

/// Encodes `record`, with `raw` after it.
pub(super) fn encode<T: Serialize>(record: &T, raw: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let head = codec::encode(record, RECORD_BYTES)?;
    Ok([&(head.len() as u32).to_le_bytes(), head.as_slice(), raw].concat())
}

/// The record in `value`, and the raw bytes after it.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let cut = || DecodeError::Malformed("cut short".to_owned());
    let (length, rest) = value.split_first_chunk::<4>().ok_or_else(cut)?;
    let (head, raw) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
    Ok((codec::decode(head, RECORD_BYTES)?, raw))
}

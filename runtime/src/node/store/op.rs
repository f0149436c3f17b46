//! Changes to the store, and what comes of them.

use super::{JobKey, JobRecord, ResultRecord};
use denali_protocol::digest::Digest;
use serde::{Deserialize, Serialize};

/// Memory that an operation takes besides arguments, input and output.
const OP_BYTES: u64 = 1024;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// A job was accepted.
    Accept {
        /// Its name.
        key: JobKey,
        /// What it is.
        record: JobRecord,
        /// Its input, where that is kept inline.
        #[serde(skip)]
        input: Vec<u8>,
        /// Whether it may wait for a moment: its client is told of its end too.
        patient: bool,
    },
    /// A job of an array has ended. Never given up: tried again until the disk takes it.
    Finish {
        /// The array.
        key: JobKey,
        /// When that was accepted: another of its name may have been before it.
        accepted_unix_us: u64,
        /// The result.
        record: Box<ResultRecord>,
        /// Its output, where that is kept inline.
        #[serde(skip)]
        output: Vec<u8>,
        /// Length of its output file, where there is one.
        file_bytes: u64,
        /// Its time of end.
        ended_unix_ms: u64,
        /// Whether it may wait for a moment: there are many, and together they cost less.
        #[serde(skip)]
        patient: bool,
    },
    /// A client cancelled a job. Tried again until the disk takes it.
    Cancel {
        /// The job.
        key: JobKey,
    },
    /// Remove results of jobs that ended before. Never in the log.
    Expire {
        /// Milliseconds since 1970.
        before_unix_ms: u64,
    },
}

impl Op {
    /// Memory that it takes while it waits, roughly.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Accept { record, input, .. } => record.arguments.iter().map(String::len).sum::<usize>() + input.len(),
            Self::Finish { output, .. } => output.len(),
            Self::Cancel { .. } | Self::Expire { .. } => 0,
        };
        bytes as u64 + OP_BYTES
    }

    /// The bytes that follow its encoding raw.
    pub(super) fn raw(&self) -> &[u8] {
        match self {
            Self::Accept { input: raw, .. } | Self::Finish { output: raw, .. } => raw,
            Self::Cancel { .. } | Self::Expire { .. } => &[],
        }
    }

    /// The decoded operation with its raw bytes.
    pub(super) fn with_raw(mut self, bytes: Vec<u8>) -> Self {
        if let Self::Accept { input: raw, .. } | Self::Finish { output: raw, .. } = &mut self {
            *raw = bytes;
        }
        self
    }

    /// Whether the writer may let it wait for a moment.
    pub(super) fn is_patient(&self) -> bool {
        matches!(self, Self::Accept { patient: true, .. } | Self::Finish { patient: true, .. })
    }
}

/// What came of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Applied {
    /// It is on the disk.
    Done,
    /// A job of this name was there before; nothing was changed.
    AlreadyThere,
    /// Another result of this index was there before; nothing was changed.
    EndedBefore {
        /// Whether that one is a success.
        succeeded: bool,
    },
    /// There is no such job.
    Missing,
    /// These were removed, and perhaps more remain to be.
    Expired(Expired),
}

/// What an expiry removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Expired {
    /// Bundles that jobs referred to, once each time.
    pub(crate) bundles: Vec<Digest>,
    /// Inputs in files that jobs referred to, once each time.
    pub(crate) inputs: Vec<Digest>,
    /// Output files.
    pub(crate) outputs: Vec<(String, u64)>,
    /// Whether there is more to remove.
    pub(crate) more: bool,
}

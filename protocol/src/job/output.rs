//! What a job puts out.

use crate::digest::{Digest, Hasher};
use serde::{Deserialize, Serialize};

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
    /// One digest of all: SHA-256 over the number of channels and, of each, its kind (0 output, 1 error, 2 file), the
    /// length of its name and its name (empty but for a file), its length, and its digest. Numbers are 8 bytes,
    /// little-endian.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.number(self.0.len() as u64);
        for ChannelDigest { channel, bytes, digest } in &self.0 {
            let (kind, name) = match channel {
                Channel::Output => (0, ""),
                Channel::Error => (1, ""),
                Channel::File(name) => (2, name.as_str()),
            };
            hasher.number(kind);
            hasher.sized(name.as_bytes());
            hasher.number(*bytes);
            hasher.update(&digest.0);
        }
        hasher.finish()
    }
}

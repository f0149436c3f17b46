//! A node's signed statement of what ran: which bundle, arguments and input, for whom, in which VM, how it ended, what it
//! used and what it put out.
//!
//! A receipt is a byte string: magic, length of the body, body, signature. The signature covers the exact body bytes,
//! and nothing may follow it, so every bit of a receipt counts.

use crate::{
    codec::{self, DecodeError, EncodeError},
    digest::{Digest, Hasher},
    identity::{KeyPair, PublicKey, Purpose},
    job::{JobId, Outcome, Usage, VmId},
    limits,
};
use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"DENALIR1";
const SIGNATURE_BYTES: usize = 64;

/// How the VM of a job was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StartPath {
    /// A virtual machine in which no job ran before.
    New,
    /// A virtual machine in which earlier jobs of the same client and bundle ran, with all of its memory and registers
    /// put back to their start.
    Reimaged,
}

/// What a node states.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Statement {
    /// The node that ran the job and signs.
    pub node: PublicKey,
    /// The client it ran for.
    pub client: PublicKey,
    /// The job.
    pub job: JobId,
    /// Its index in the array.
    pub index: u32,
    /// The bundle.
    pub bundle: Digest,
    /// Digest of the argument list, see [`arguments_digest`].
    pub arguments: Digest,
    /// Digest of the input bytes.
    pub input: Digest,
    /// The VM; absent when none was started.
    pub vm: Option<VmId>,
    /// How that VM was made.
    pub start: StartPath,
    /// How the job ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What it put out, see [`crate::job::OutputDigests::digest`].
    pub output: Digest,
    /// When it ended, in milliseconds since 1970 (UTC) by the node's clock.
    pub ended_unix_ms: u64,
}

/// The digest of an argument list as a receipt states it: SHA-256 over the number of arguments and, of each, its length and
/// its bytes. Numbers are 8 bytes, little-endian.
#[must_use]
pub fn arguments_digest(arguments: &[String]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.number(arguments.len() as u64);
    for argument in arguments {
        hasher.sized(argument.as_bytes());
    }
    hasher.finish()
}

/// A signed statement in its byte form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt(#[serde(with = "codec::bytes")] pub Vec<u8>);

/// Why bytes are not a receipt that holds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// Not the magic of a receipt.
    #[error("not a receipt: it does not start with {:?}", std::str::from_utf8(MAGIC).unwrap_or_default())]
    NotAReceipt,
    /// Cut short, or bytes follow it.
    #[error("this receipt takes {expected} bytes, got {actual}: it was cut or added to")]
    Length {
        /// Bytes it should take, by the length it states; the least a receipt takes where that is cut too.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The body is not a statement.
    #[error("the statement is {0}")]
    Statement(#[from] DecodeError),
    /// The signature does not hold: a bit was changed, or another key signed.
    #[error("the signature of node {node} does not hold: the receipt was altered or forged")]
    Signature {
        /// The node that the statement names.
        node: PublicKey,
    },
}

impl Receipt {
    /// Signs `statement` with the node's key.
    ///
    /// # Errors
    /// When the statement is longer than [`limits::RECEIPT_BYTES`].
    pub fn sign(statement: &Statement, key: &KeyPair) -> Result<Self, EncodeError> {
        let body = codec::encode(statement, limits::RECEIPT_BYTES)?;
        let signature = key.sign(Purpose::Receipt, &body).to_bytes();
        let length = (body.len() as u32).to_le_bytes();
        Ok(Self([MAGIC.as_slice(), &length, &body, &signature].concat()))
    }

    /// Checks the signature by the node that the statement names, and gives the statement. Whether that node is the
    /// right one is the caller's question.
    ///
    /// # Errors
    /// [`ReceiptError`] for anything but the exact bytes that the node signed.
    pub fn verify(&self) -> Result<Statement, ReceiptError> {
        let rest = self.0.strip_prefix(MAGIC).ok_or(ReceiptError::NotAReceipt)?;
        let wrong_length = |body_bytes: usize| ReceiptError::Length {
            expected: body_bytes.saturating_add(MAGIC.len() + 4 + SIGNATURE_BYTES),
            actual: self.0.len(),
        };
        let (length, rest) = rest.split_first_chunk().ok_or_else(|| wrong_length(0))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (body, signature) = rest.split_at_checked(length).ok_or_else(|| wrong_length(length))?;
        let signature = signature.try_into().map_err(|_| wrong_length(length))?;
        let statement: Statement = codec::decode(body, limits::RECEIPT_BYTES)?;
        if !statement.node.verify(Purpose::Receipt, body, &Signature::from_bytes(signature)) {
            return Err(ReceiptError::Signature { node: statement.node });
        }
        Ok(statement)
    }
}

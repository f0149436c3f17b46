//! The one place that knows bincode.
//!
//! Fixed-width little-endian integers, so that every value has exactly one encoding. A decode is bounded twice: by the
//! caller's limit on the input, and by bincode's own limit on what lengths inside it may claim. Nothing may be left
//! over. See `docs/decisions/0003-bincode.md` for the choice and the way out.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

/// Largest allocation that a decode may make on the word of its input, in bytes.
const CLAIM_BYTES: usize = 4 * 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<CLAIM_BYTES>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<CLAIM_BYTES>();

/// Why bytes are not the value they should be. The sender is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The input is longer than this kind of value may be.
    #[error("{actual} bytes, more than the limit of {limit}")]
    TooLong {
        /// Bytes given.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not spell a value of the type.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A whole value was read and bytes remain.
    #[error("{0} bytes left over after the value")]
    Trailing(usize),
}

/// Why a value could not be encoded. The caller is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// The encoding would be longer than this kind of value may be.
    #[error("encoding takes {actual} bytes, more than the limit of {limit}")]
    TooLong {
        /// Bytes the value takes.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The type cannot be encoded.
    #[error("cannot be encoded: {0}")]
    Unsupported(String),
}

/// Encodes `value`, which must take at most `limit` bytes.
///
/// # Errors
/// [`EncodeError::TooLong`] when it takes more.
pub fn encode<T: Serialize>(value: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    let bytes = bincode::serde::encode_to_vec(value, CONFIG).map_err(|e| EncodeError::Unsupported(e.to_string()))?;
    if bytes.len() > limit {
        return Err(EncodeError::TooLong { actual: bytes.len(), limit });
    }
    Ok(bytes)
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// [`DecodeError`] when `bytes` is longer than `limit`, is malformed, or has bytes left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { actual: bytes.len(), limit });
    }
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

//! The one place that knows bincode.
//!
//! Fixed-width little-endian integers, so that every value has exactly one encoding. A decode is bounded twice: by the
//! caller's limit on the input, and by [`MAX_BYTES`] on what lengths inside it may claim (serde adds its own bound of
//! 1 MiB on the room it reserves for a list). Nothing may be left over. See `docs/decisions/0003-bincode.md` for the
//! choice and the way out.
//!
//! A type to decode holds no list of values that take no bytes, for the length of such a list is bounded by nothing.

use bincode::{
    config::{Configuration, Fixint, Limit, LittleEndian},
    error,
};
use serde::{Serialize, de::DeserializeOwned};

pub mod bytes;

/// Longest encoding of any value, in bytes, whatever limit the caller sets.
pub const MAX_BYTES: usize = 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_BYTES>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MAX_BYTES>();

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
    /// The input ends before the value does.
    #[error("cut short: {missing} more bytes are expected")]
    Truncated {
        /// How many more, at least.
        missing: usize,
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

/// Encodes `value`, which must take at most `limit` bytes, and at most [`MAX_BYTES`].
///
/// # Errors
/// [`EncodeError::TooLong`] when it takes more.
pub fn encode<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    let limit = limit.min(MAX_BYTES);
    let bytes = bincode::serde::encode_to_vec(value, CONFIG).map_err(|e| EncodeError::Unsupported(e.to_string()))?;
    if bytes.len() > limit {
        return Err(EncodeError::TooLong { actual: bytes.len(), limit });
    }
    Ok(bytes)
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// [`DecodeError`] when `bytes` is longer than `limit` or [`MAX_BYTES`], is malformed, or has bytes left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    let limit = limit.min(MAX_BYTES);
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { actual: bytes.len(), limit });
    }
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG).map_err(explain)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

fn explain(error: error::DecodeError) -> DecodeError {
    match error {
        error::DecodeError::UnexpectedEnd { additional } => DecodeError::Truncated { missing: additional },
        error::DecodeError::LimitExceeded => {
            DecodeError::Malformed(format!("a length in it claims more than {MAX_BYTES} bytes"))
        }
        error::DecodeError::OtherString(why) => DecodeError::Malformed(why),
        // In words: bincode's own texts are its enums as Rust writes them.
        error::DecodeError::Utf8 { inner } => DecodeError::Malformed(format!("a text in it is no UTF-8 ({inner})")),
        error::DecodeError::UnexpectedVariant { found, .. } => {
            DecodeError::Malformed(format!("a choice in it has the number {found}, which none has"))
        }
        error::DecodeError::InvalidBooleanValue(byte) => DecodeError::Malformed(format!("a flag in it is {byte}")),
        other => DecodeError::Malformed(other.to_string()),
    }
}

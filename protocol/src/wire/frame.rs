//! Frames: a length of four bytes, little-endian, and as many bytes of one encoded message.

use crate::{
    codec::{self, DecodeError, EncodeError},
    limits,
};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the length before a frame's body.
pub const HEADER_BYTES: usize = 4;

/// Why bytes on a stream are not frames. The peer is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The header announces more than a frame may hold.
    #[error("the peer announced a frame of {announced} bytes, more than the limit of {}", limits::FRAME_BYTES)]
    TooLong {
        /// Bytes announced.
        announced: usize,
    },
    /// The body is not a message.
    #[error("the peer sent a message that is {0}")]
    Message(#[from] DecodeError),
}

/// A whole frame with `message` in it.
///
/// # Errors
/// When the message takes more than [`limits::FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, EncodeError> {
    let body = codec::encode(message, limits::FRAME_BYTES)?;
    Ok([&(body.len() as u32).to_le_bytes(), body.as_slice()].concat())
}

/// The body length that a header announces, checked before anything is allocated for it.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn body_length(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    match u32::from_le_bytes(header) as usize {
        announced if announced > limits::FRAME_BYTES => Err(FrameError::TooLong { announced }),
        length => Ok(length),
    }
}

/// The message in a frame's body.
///
/// # Errors
/// [`FrameError::Message`] for anything but one whole message.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(codec::decode(body, limits::FRAME_BYTES)?)
}

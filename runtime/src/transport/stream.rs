//! Frames and raw bodies on one QUIC stream.

use denali_protocol::{
    codec::EncodeError,
    wire::frame::{self, FrameError},
};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};

/// Why no message arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The peer ended the stream where a message could have begun: it has said everything.
    #[error("the peer ended the stream")]
    Finished,
    /// The peer ended the stream inside a message. It is at fault.
    #[error("the peer ended the stream in the middle of a message")]
    CutShort,
    /// What arrived is no message. The peer is at fault.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection or the stream broke.
    #[error("cannot read from the peer: {0}")]
    Read(#[from] ReadError),
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// It is longer than a frame may be. The caller is at fault.
    #[error("cannot send: the {0}")]
    Encode(#[from] EncodeError),
    /// The connection or the stream broke.
    #[error("cannot write to the peer: {0}")]
    Write(#[from] WriteError),
}

/// Reads one frame and the message in it. Nothing is allocated on the peer's word beyond the limit of a frame.
///
/// # Errors
/// [`ReceiveError`].
pub(crate) async fn read_frame<T: DeserializeOwned>(stream: &mut RecvStream) -> Result<T, ReceiveError> {
    let mut header = [0; frame::HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(0) => ReceiveError::Finished,
        ReadExactError::FinishedEarly(_) => ReceiveError::CutShort,
        ReadExactError::ReadError(error) => error.into(),
    })?;
    let mut body = vec![0; frame::body_length(header)?];
    stream.read_exact(&mut body).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => ReceiveError::CutShort,
        ReadExactError::ReadError(error) => error.into(),
    })?;
    Ok(frame::decode(&body)?)
}

/// Writes `message` as one frame.
///
/// # Errors
/// [`SendError`].
pub(crate) async fn write_frame<T: Serialize>(stream: &mut SendStream, message: &T) -> Result<(), SendError> {
    let bytes = frame::encode(message)?;
    Ok(stream.write_chunk(bytes.into()).await?)
}

/// Writes raw bytes that belong to a message, as far as the peer wants them. A peer that stops the stream has answered
/// already (it has the bundle, or refuses the job): this gives false, and the answer is there to be read.
///
/// # Errors
/// When the connection broke.
pub(crate) async fn write_body(stream: &mut SendStream, bytes: &[u8]) -> Result<bool, SendError> {
    match stream.write_all(bytes).await {
        Ok(()) => Ok(true),
        Err(WriteError::Stopped(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

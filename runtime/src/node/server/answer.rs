//! What the node says on one stream, at the pace of a client that takes it, and not for ever to one that does not.
//!
//! An answer that waits for its client is in memory. So only [`ANSWERS`] of one connection are written at once, and the
//! others wait as small as they can.

use super::{RequestError, STALL};
use crate::transport::SendError;
use denali_protocol::wire::{
    frame,
    message::{Refusal, RefusalKind, Response},
};
use quinn::{SendStream, WriteError};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that are written to one connection at once. More wait their turn.
pub(super) const ANSWERS: usize = 8;

/// Why an answer did not go out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// It cannot be sent, or the client is gone.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The client took nothing for too long.
    #[error("the client took nothing for {} s", STALL.as_secs())]
    Stalled,
    /// The client wants no more.
    #[error("the client wants no more")]
    Unwanted,
}

impl From<WriteError> for AnswerError {
    fn from(error: WriteError) -> Self {
        Self::Send(error.into())
    }
}

impl From<AnswerError> for RequestError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Send(SendError::Encode(error)) => Self::Refused(Refusal {
                kind: RefusalKind::Internal,
                message: format!("the answer cannot be sent: {error}"),
            }),
            error => super::gone(error),
        }
    }
}

/// The answer to one request.
pub(crate) struct Answer {
    send: SendStream,
    turns: Arc<Semaphore>,
}

/// A turn to be written.
pub(super) type AnswerTurn = Option<OwnedSemaphorePermit>;

impl Answer {
    /// Answers on `send`, one of the streams that share `turns`.
    pub(super) fn new(send: SendStream, turns: Arc<Semaphore>) -> Self {
        Self { send, turns }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> AnswerTurn {
        // The semaphore is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Sends one message.
    pub(crate) async fn say(&mut self, response: &Response) -> Result<(), AnswerError> {
        let turn = self.turn().await;
        self.say_in(turn, response).await
    }

    /// Sends one message in a turn waited for before.
    pub(super) async fn say_in(&mut self, _turn: AnswerTurn, response: &Response) -> Result<(), AnswerError> {
        let frame = frame::encode(response).map_err(SendError::from)?;
        self.write(frame.into()).await
    }

    /// Sends raw bytes.
    pub(super) async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), AnswerError> {
        let _turn = self.turn().await;
        self.write(bytes.into()).await
    }

    async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), AnswerError> {
        let mut left = [bytes];
        while !left[0].is_empty() {
            // What was written is cut off at the front of `left`.
            if let Ok(written) = tokio::time::timeout(STALL, self.send.write_chunks(&mut left)).await {
                written?;
            } else {
                // What waits to be sent is given up with the stream. Fails only for one that is closed already.
                let _ = self.send.reset(1_u32.into());
                return Err(AnswerError::Stalled);
            }
        }
        Ok(())
    }

    /// Returns once the client cannot or will not take any more.
    pub(crate) fn unwanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.send.stopped();
        async move { drop(stopped.await) }
    }

    /// Says that this was all, and waits until the client has it.
    pub(super) async fn finish(mut self) {
        // Fails only for a stream that is closed already.
        let _ = self.send.finish();
        self.unwanted().await;
    }
}

//! What the node says on one stream, at the pace of a client that takes it, and not for ever to one that does not.
//!
//! An answer that waits for its client is in memory. So only [`ANSWERS`] of one connection are written at once, and the
//! others wait as small as they can.

use crate::transport::SendError;
use denali_protocol::wire::{frame, message::Response};
use quinn::{SendStream, WriteError};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that are written to one connection at once. More wait their turn.
pub(crate) const ANSWERS: usize = 8;

/// A client that is silent for so long where it has something to say, or takes nothing where it is told something, is
/// given up.
pub(crate) const STALL: Duration = Duration::from_secs(30);

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

/// The answer to one request.
pub(crate) struct Answer {
    send: SendStream,
    turns: Arc<Semaphore>,
}

/// A turn to be written.
pub(crate) type AnswerTurn = Option<OwnedSemaphorePermit>;

impl Answer {
    /// Answers on `send`, one of the streams that share `turns`.
    pub(crate) fn new(send: SendStream, turns: Arc<Semaphore>) -> Self {
        Self { send, turns }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> AnswerTurn {
        // The semaphore is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Sends one message.
    pub(crate) async fn say(&mut self, response: &Response) -> Result<(), AnswerError> {
        let turn = self.turn().await;
        self.say_in(turn, response).await
    }

    /// Sends one message in a turn waited for before.
    pub(crate) async fn say_in(&mut self, _turn: AnswerTurn, response: &Response) -> Result<(), AnswerError> {
        let frame = frame::encode(response).map_err(SendError::from)?;
        self.write(frame.into()).await
    }

    /// Sends raw bytes.
    pub(crate) async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), AnswerError> {
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
    pub(crate) async fn finish(mut self) {
        // Fails only for a stream that is closed already.
        let _ = self.send.finish();
        self.unwanted().await;
    }
}

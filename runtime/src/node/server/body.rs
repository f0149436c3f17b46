//! Raw bytes that a client announced, as they come, and in time.

use super::{RequestError, gone, invalid};
use crate::node::answer::STALL;
use crate::node::store::Upload;
use denali_protocol::limits;
use quinn::RecvStream;
use std::time::Duration;
use tokio::time::Instant;

/// The least that a client must send on average, in bytes a second, so that none holds a turn for as long as it likes.
/// Eight uploads at once over a line of 1 Mbit/s are just as fast.
const LEAST_RATE: u64 = 16 * 1024;

pub(super) struct Body<'a> {
    receive: &'a mut RecvStream,
    what: &'static str,
    left: u64,
    deadline: Instant,
}

impl<'a> Body<'a> {
    /// `bytes` bytes that are read from now on.
    pub(super) fn new(receive: &'a mut RecvStream, what: &'static str, bytes: u64) -> Self {
        Self { receive, what, left: bytes, deadline: Instant::now() + time_for(bytes) }
    }

    /// The next piece; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<bytes::Bytes>, RequestError> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(limits::FRAME_BYTES);
        let (what, left) = (self.what, self.left);
        let until = self.deadline.min(Instant::now() + STALL);
        match tokio::time::timeout_at(until, self.receive.read_chunk(most, true)).await {
            Ok(Ok(Some(chunk))) => {
                self.left -= chunk.bytes.len() as u64;
                Ok(Some(chunk.bytes))
            }
            Ok(Ok(None)) => Err(invalid(format!("the {what} ended {left} bytes early")).into()),
            Ok(Err(error)) => Err(gone(error)),
            Err(_) if until == self.deadline => Err(invalid(format!(
                "the {what} came too slowly, with {left} bytes to go; send at least {} KiB/s",
                LEAST_RATE / 1024
            ))
            .into()),
            Err(_) => {
                Err(invalid(format!("the {what} stalled for {} s with {left} bytes to go", STALL.as_secs())).into())
            }
        }
    }

    /// Writes all of it to `upload`.
    pub(super) async fn save(mut self, upload: &mut Upload) -> Result<(), RequestError> {
        while let Some(bytes) = self.next().await? {
            upload.write(&bytes)?;
        }
        Ok(())
    }
}

/// How long `bytes` bytes may take.
fn time_for(bytes: u64) -> Duration {
    STALL + Duration::from_secs(bytes / LEAST_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_deadline_that_grows_with_its_length() {
        assert_eq!(time_for(100), STALL);
        assert_eq!(time_for(limits::FRAME_BYTES as u64), STALL + Duration::from_secs(16));
        assert!(time_for(limits::BUNDLE_BYTES) < Duration::from_secs(10 * 3600));
    }
}

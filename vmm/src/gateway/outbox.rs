//! What a job puts out, on its way to the node: counted against its limit, and gathered into few large pieces however
//! small the guest's are.

use super::{GatewayError, Sink};
use denali_protocol::{
    bundle::path,
    job::Channel,
    limits::{FILES, OUTPUT_PIECE_BYTES},
};
use std::collections::BTreeSet;

/// The outbox of one VM.
pub(super) struct Outbox {
    sink: Box<dyn Sink>,
    left: u64,
    limit: u64,
    files: BTreeSet<String>,
    permille: u16,
    channel: Channel,
    piece: Vec<u8>,
}

impl Outbox {
    pub(super) fn new(limit: u64, sink: Box<dyn Sink>) -> Self {
        Self {
            sink,
            left: limit,
            limit,
            files: BTreeSet::new(),
            permille: 0,
            channel: Channel::Output,
            piece: Vec::new(),
        }
    }

    /// Takes output, at most one frame of it. What stays within the limit is passed on, so that the client sees where it
    /// was cut.
    pub(super) fn output(&mut self, channel: Channel, bytes: &[u8]) -> Result<(), GatewayError> {
        let kept = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= kept as u64;
        if self.channel != channel || self.piece.len() + kept > OUTPUT_PIECE_BYTES {
            self.flush();
            self.channel = channel;
        }
        self.piece.extend_from_slice(&bytes[..kept]);
        if kept < bytes.len() {
            return Err(GatewayError::OutputLimit { limit_bytes: self.limit });
        }
        Ok(())
    }

    /// Takes output of a named file, which exists from its first message on, empty or not.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), GatewayError> {
        if !self.files.contains(name) {
            if self.files.len() == FILES {
                return Err(GatewayError::Files);
            }
            if path::is_file_and_directory(&self.files, name) {
                return Err(GatewayError::FileAndDirectory);
            }
            self.files.insert(name.to_owned());
            self.flush();
            self.sink.output(Channel::File(name.to_owned()), &[]);
        }
        self.output(Channel::File(name.to_owned()), bytes)
    }

    /// Progress only ever grows, so a guest can't send more than a thousand steps of it.
    pub(super) fn progress(&mut self, permille: u16) {
        if permille > self.permille {
            self.permille = permille;
            self.sink.progress(permille);
        }
    }

    pub(super) fn keeps_up(&self) -> bool {
        self.sink.keeps_up()
    }

    pub(super) fn flush(&mut self) {
        if !self.piece.is_empty() {
            self.sink.output(self.channel.clone(), &self.piece);
            self.piece.clear();
        }
    }
}

const _: () = assert!(denali_abi::ring::FRAME_BYTES_MAX <= OUTPUT_PIECE_BYTES, "a frame's output is one piece");

#[cfg(test)]
mod tests;

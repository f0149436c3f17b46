//! A job's input: pieces, given only as fast as the guest takes them, and never waited for.

use super::datagram::Link;
use denali_abi::job::{HEADER_BYTES, INPUT, INPUT_END, UDP_HEADERS_BYTES};
use std::collections::VecDeque;

/// Room for a message below which input waits: small pieces cost as much as large ones.
pub(super) const MESSAGE_BYTES_MIN: usize = HEADER_BYTES + 4096;

/// What a piece takes of memory beside its bytes.
const PIECE_BYTES: usize = 64;

/// The input.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// What the guest has not got.
    pieces: VecDeque<Vec<u8>>,
    /// Bytes known to come beside these.
    to_come: u64,
    /// Whether no more will come.
    ended: bool,
    /// Whether the guest was told so.
    told: bool,
}

impl Feed {
    /// All of the input.
    pub(crate) fn bytes_of(bytes: Vec<u8>) -> Self {
        let mut feed = Self::default();
        feed.push(bytes, true);
        feed
    }

    /// Input that [`Feed::push`] brings, of which so many bytes are known to come.
    pub(crate) fn of(to_come: u64) -> Self {
        Self { to_come, ..Self::default() }
    }

    /// Bytes known to come.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>() + self.to_come
    }

    /// Memory that pieces take which the guest has not got.
    pub(super) fn held(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len() + PIECE_BYTES).sum()
    }

    /// More input; whether it is the last. After the guest was told so, nothing more comes.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, end: bool) {
        if self.told {
            return;
        }
        self.to_come = self.to_come.saturating_sub(bytes.len() as u64);
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
        self.ended |= end;
    }

    /// Makes the next frame of input, at most `room` bytes long. `false` when there is none now or none any more.
    pub(super) fn next(&mut self, link: &Link, frame: &mut Vec<u8>, room: usize) -> bool {
        if let Some(mut piece) = self.pieces.pop_front() {
            link.start_message(frame, INPUT);
            let rest = piece.split_off(piece.len().min(room - UDP_HEADERS_BYTES - HEADER_BYTES));
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            frame.extend_from_slice(&piece);
        } else if self.ended && !self.told {
            self.told = true;
            link.start_message(frame, INPUT_END);
        } else {
            return false;
        }
        link.finish(frame);
        true
    }
}

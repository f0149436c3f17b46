//! The worker's end of the socket to its node: commands, with descriptors, come in.

use super::message::Command;
use denali_protocol::wire::frame::{self, FrameError, HEADER_BYTES};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

/// The node broke the protocol, or went away in the middle of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("the socket to the node failed: {0}")]
    Io(#[from] io::Error),
    #[error("a command of the node: {0}")]
    Frame(#[from] FrameError),
    #[error("a start command came without its two descriptors")]
    Descriptors,
}

/// Reads commands.
pub(super) struct Commands {
    stream: UnixStream,
    buffer: VecDeque<u8>,
    descriptors: VecDeque<OwnedFd>,
}

/// Descriptors in one message: those of one command.
const DESCRIPTORS: usize = 2;

impl Commands {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: VecDeque::new(), descriptors: VecDeque::new() }
    }

    /// The next command; `None` when the node closed the socket between two.
    pub(super) fn next(&mut self) -> Result<Option<Command>, SocketError> {
        let Some(header) = self.take::<HEADER_BYTES>()? else { return Ok(None) };
        let length = frame::body_length(header)?;
        while self.buffer.len() < length {
            if !self.receive()? {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        Ok(Some(frame::decode(&body)?))
    }

    /// The descriptors that came with the command just read: bundle and input.
    pub(super) fn take_descriptors(&mut self) -> Result<(OwnedFd, OwnedFd), SocketError> {
        match (self.descriptors.pop_front(), self.descriptors.pop_front()) {
            (Some(bundle), Some(input)) => Ok((bundle, input)),
            _ => Err(SocketError::Descriptors),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<Option<[u8; N]>, SocketError> {
        while self.buffer.len() < N {
            if !self.receive()? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
        let mut out = [0; N];
        for (byte, from) in out.iter_mut().zip(self.buffer.drain(..N)) {
            *byte = from;
        }
        Ok(Some(out))
    }

    /// Reads more bytes, and any descriptors with them. `false` at the end of the stream.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                // The node was killed with reports unread: an end like any other.
                Err(rustix::io::Errno::CONNRESET) => return Ok(false),
                result => break result?,
            }
        };
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = item {
                self.descriptors.extend(descriptors);
            }
        }
        self.buffer.extend(&bytes[..message.bytes]);
        Ok(message.bytes > 0)
    }
}

#[cfg(test)]
mod tests;

//! The worker's end of the socket to its node: commands, with descriptors, come in.

use super::message::Command;
use denali_protocol::wire::frame::{self, FrameError, HEADER_BYTES};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// The node broke the protocol, or went away in the middle of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("the socket to the node failed: {0}")]
    Io(#[from] io::Error),
    #[error("a command of the node: {0}")]
    Frame(#[from] FrameError),
    #[error("a command came without its descriptors")]
    Descriptors,
    #[error("{0} descriptors came that belong to no command")]
    TooManyDescriptors(usize),
}

/// Reads commands.
pub(super) struct Commands {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were taken as commands.
    taken: usize,
    descriptors: VecDeque<OwnedFd>,
}

/// What there is to do for the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A command.
    Command(Command),
    /// Nothing for the moment.
    Nothing,
    /// The node closed the socket, between two commands.
    Closed,
}

/// Descriptors in one message: those of one command.
const DESCRIPTORS: usize = 2;

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 16 * 1024;

impl Commands {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), taken: 0, descriptors: VecDeque::new() }
    }

    /// The next command, without waiting for one. Whoever calls has taken the descriptors of the last one.
    pub(super) fn next(&mut self) -> Result<Next, SocketError> {
        loop {
            if let Some(command) = self.take()? {
                return Ok(Next::Command(command));
            }
            // Those that wait now are of a command that has come in part. More would never be taken, or by the wrong one.
            let own = if self.buffer.len() == self.taken { 0 } else { DESCRIPTORS };
            if self.descriptors.len() > own {
                return Err(SocketError::TooManyDescriptors(self.descriptors.len()));
            }
            match self.receive() {
                Ok(0) if self.buffer.is_empty() => return Ok(Next::Closed),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Nothing),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A command of which all bytes are there.
    fn take(&mut self) -> Result<Option<Command>, SocketError> {
        let Some((header, rest)) = self.buffer[self.taken..].split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = frame::body_length(*header)?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let command = frame::decode(body)?;
        self.taken += HEADER_BYTES + length;
        Ok(Some(command))
    }

    /// The next descriptor that came with the command just read.
    pub(super) fn take_descriptor(&mut self) -> Result<OwnedFd, SocketError> {
        self.descriptors.pop_front().ok_or(SocketError::Descriptors)
    }

    /// Reads more bytes, and any descriptors with them; none at the end of the stream.
    fn receive(&mut self) -> io::Result<usize> {
        self.buffer.drain(..std::mem::take(&mut self.taken));
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut self.buffer[filled..])];
            match recvmsg(&self.stream, &mut slices, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                // The node was killed with reports unread: an end like any other.
                Err(rustix::io::Errno::CONNRESET) => break Ok(0),
                result => break result.map(|message| message.bytes),
            }
        };
        self.buffer.truncate(filled + received.as_ref().map_or(0, |bytes| *bytes));
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = item {
                self.descriptors.extend(descriptors);
            }
        }
        Ok(received?)
    }
}

impl AsFd for Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

//! A job's input where it comes from a descriptor: a file, a pipe or a terminal. Makers read it, and give it to the job's VM
//! in pieces.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd},
};

/// Read at a time: as much as a pipe holds.
const PIECE_BYTES: usize = 64 << 10;

/// The input.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Bytes left of a regular file, which never keeps a reader waiting.
    left: Option<u64>,
    /// Whether it is among the events that runners hear of.
    pub(super) watched: bool,
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes, and whether they are the last.
    Bytes(Vec<u8>, bool),
    /// Nothing yet.
    NotYet,
}

impl Source {
    /// Input from a descriptor, from its current position on.
    pub(super) fn of(mut file: File) -> io::Result<Self> {
        let about = file.metadata()?;
        let left = match about.is_file() {
            true => Some(about.len().saturating_sub(file.stream_position()?)),
            false => None,
        };
        Ok(Self { file, left, watched: false })
    }

    /// Bytes known to come.
    pub(super) fn bytes(&self) -> u64 {
        self.left.unwrap_or(0)
    }

    /// The next piece, without waiting for one, unless another reader of the same pipe takes it first.
    pub(super) fn read(&mut self) -> io::Result<Piece> {
        if self.left.is_none() && !self.is_readable()? {
            return Ok(Piece::NotYet);
        }
        let most = self.left.map_or(PIECE_BYTES, |left| PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES)));
        let mut bytes = vec![0; most];
        let read = if most == 0 { 0 } else { self.read_into(&mut bytes)? };
        bytes.truncate(read);
        self.left = self.left.map(|left| left.saturating_sub(read as u64));
        Ok(Piece::Bytes(bytes, read == 0 || self.left == Some(0)))
    }

    fn read_into(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal in the background, for one: it has no input to give.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                result => return result,
            }
        }
    }

    fn is_readable(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests;

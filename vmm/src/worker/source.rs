//! A job's input where it comes from a descriptor: a file, a pipe or a terminal. Makers read it, and give it to the job's VM
//! in pieces.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ReadWriteFlags, preadv2},
};
use std::{
    fs::File,
    io::{self, IoSliceMut, Seek},
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

    /// The next piece, without waiting for one.
    pub(super) fn read(&mut self) -> io::Result<Piece> {
        if self.left.is_none() && !self.is_readable()? {
            return Ok(Piece::NotYet);
        }
        let most = self.left.map_or(PIECE_BYTES, |left| PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES)));
        let mut bytes = vec![0; most];
        let Some(read) = (if most == 0 { Some(0) } else { self.read_into(&mut bytes)? }) else {
            return Ok(Piece::NotYet);
        };
        bytes.truncate(read);
        self.left = self.left.map(|left| left.saturating_sub(read as u64));
        Ok(Piece::Bytes(bytes, read == 0 || self.left == Some(0)))
    }

    /// Reads what is there: nothing at the end, none where another reader of the same pipe has taken it. Terminals, and pipes
    /// before Linux 6.4, do not know how not to wait then: that takes a maker, and no more than one for each such run.
    fn read_into(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        const FROM_ITS_POSITION: u64 = u64::MAX;
        // Of a regular file it would refuse what is on the disk alone.
        let mut how = if self.left.is_none() { ReadWriteFlags::NOWAIT } else { ReadWriteFlags::empty() };
        loop {
            match preadv2(&self.file, &mut [IoSliceMut::new(bytes)], FROM_ITS_POSITION, how) {
                Ok(read) => return Ok(Some(read)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::OPNOTSUPP) if !how.is_empty() => how = ReadWriteFlags::empty(),
                // A terminal in the background, for one: it has no input to give.
                Err(Errno::IO) => return Ok(Some(0)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_readable(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
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

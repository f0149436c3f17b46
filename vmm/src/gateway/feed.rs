//! A job's input: a file, a pipe or messages, given only as fast as the guest takes it, and never waited for.

use super::datagram::Link;
use denali_abi::job::{HEADER_BYTES, INPUT, INPUT_END, UDP_HEADERS_BYTES};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FileType,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

/// Room for a message below which reading waits: small pieces cost as much as large ones.
pub(super) const MESSAGE_BYTES_MIN: usize = HEADER_BYTES + 4096;

/// Read from a pipe at a time: as much as a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

/// What a piece of a message takes of memory beside its bytes.
const PIECE_BYTES: usize = 64;

/// The input.
#[derive(Debug)]
pub(crate) enum Feed {
    /// A file, a pipe or a terminal.
    Descriptor {
        /// Where it is read.
        source: File,
        /// Bytes left of a regular file, which never keeps a reader waiting.
        left: Option<u64>,
        /// Whether the last look found nothing to read yet.
        waiting: bool,
    },
    /// Pieces that come by and by.
    Messages {
        /// Those that the guest has not got.
        pieces: VecDeque<Vec<u8>>,
        /// Whether no more will come.
        ended: bool,
    },
    /// The guest was told that the input has ended.
    Ended,
}

impl Feed {
    /// Input from a descriptor, from its current position on.
    pub(crate) fn of(source: File) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&source)?;
        let left = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some((stat.st_size as u64).saturating_sub(rustix::fs::tell(&source)?)),
            _ => None,
        };
        Ok(Self::Descriptor { source, left, waiting: false })
    }

    /// All of the input.
    pub(crate) fn bytes_of(bytes: Vec<u8>) -> Self {
        let mut feed = Self::messages();
        feed.push(bytes, true);
        feed
    }

    /// Input that [`Feed::push`] brings.
    pub(crate) fn messages() -> Self {
        Self::Messages { pieces: VecDeque::new(), ended: false }
    }

    /// Bytes known to come.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Descriptor { left, .. } => left.unwrap_or(0),
            Self::Messages { pieces, .. } => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Self::Ended => 0,
        }
    }

    /// The descriptor that must become readable before there is more.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Descriptor { source, waiting: true, .. } => Some(source.as_fd()),
            _ => None,
        }
    }

    /// The descriptor that it is read from.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Descriptor { source, .. } => Some(source.as_fd()),
            _ => None,
        }
    }

    /// Memory that messages take which the guest has not got.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Messages { pieces, .. } => pieces.iter().map(|piece| piece.len() + PIECE_BYTES).sum(),
            _ => 0,
        }
    }

    /// More input, for a feed of messages.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, end: bool) {
        if let Self::Messages { pieces, ended } = self {
            if !bytes.is_empty() {
                pieces.push_back(bytes);
            }
            *ended |= end;
        }
    }

    /// Makes the next frame of input, at most `room` bytes long. `false` when there is none now or none any more.
    pub(super) fn next(&mut self, link: &Link, frame: &mut Vec<u8>, room: usize) -> io::Result<bool> {
        let start = UDP_HEADERS_BYTES + HEADER_BYTES;
        let bytes = match self {
            Self::Ended => return Ok(false),
            Self::Descriptor { source, left, waiting } => {
                *waiting = left.is_none() && !readable(source)?;
                if *waiting {
                    return Ok(false);
                }
                link.start_message(frame, INPUT);
                // No more room is cleared than there may be bytes; one that gets none has ended.
                let most = left.map_or(PIPE_BYTES, |left| usize::try_from(left).unwrap_or(usize::MAX));
                frame.resize(room.min(start.saturating_add(most)), 0);
                let bytes = if most == 0 { 0 } else { read(source, &mut frame[start..])? };
                if let Some(left) = left {
                    *left = left.saturating_sub(bytes as u64);
                }
                bytes
            }
            Self::Messages { pieces, ended } => {
                let Some(mut piece) = pieces.pop_front() else {
                    if *ended {
                        return Ok(self.end(link, frame));
                    }
                    return Ok(false);
                };
                link.start_message(frame, INPUT);
                let most = piece.len().min(room - start);
                let rest = piece.split_off(most);
                if !rest.is_empty() {
                    pieces.push_front(rest);
                }
                frame.extend_from_slice(&piece);
                most
            }
        };
        if bytes == 0 {
            return Ok(self.end(link, frame));
        }
        frame.truncate(start + bytes);
        link.finish(frame);
        Ok(true)
    }

    fn end(&mut self, link: &Link, frame: &mut Vec<u8>) -> bool {
        *self = Self::Ended;
        link.start_message(frame, INPUT_END);
        link.finish(frame);
        true
    }
}

fn read(source: &mut File, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal in the background, for one: it has no input to give.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
            result => return result,
        }
    }
}

fn readable(source: &File) -> io::Result<bool> {
    let mut polled = [PollFd::new(source, PollFlags::IN)];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

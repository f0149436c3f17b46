//! A job's input: a file or a pipe, read only as fast as the guest takes it, and never waited for.

use super::datagram::Link;
use denali_abi::job::{HEADER_BYTES, INPUT, INPUT_END, UDP_HEADERS_BYTES};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FileType,
};
use std::{
    fs::File,
    io::{self, Read},
};

/// Room for a message below which reading waits: small pieces cost as much as large ones.
pub(super) const MESSAGE_BYTES_MIN: usize = HEADER_BYTES + 4096;

/// The input.
#[derive(Debug)]
pub(super) struct Feed {
    source: Option<File>,
    /// A regular file never keeps a reader waiting.
    regular: bool,
    waiting: bool,
}

/// Bytes from the current position to the end of a regular file; `None` for anything else, which may keep a reader
/// waiting.
pub(crate) fn bytes_left(input: &File) -> io::Result<Option<u64>> {
    let stat = rustix::fs::fstat(input)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    Ok(Some((stat.st_size as u64).saturating_sub(rustix::fs::tell(input)?)))
}

impl Feed {
    pub(super) fn new(source: File) -> io::Result<Self> {
        let regular = bytes_left(&source)?.is_some();
        Ok(Self { source: Some(source), regular, waiting: false })
    }

    /// Whether the last [`Feed::next`] found nothing to read yet.
    pub(super) fn waits(&self) -> bool {
        self.waiting
    }

    /// Makes the next frame of input, at most `room` bytes long. `false` when there is none now or none any more.
    pub(super) fn next(&mut self, link: &Link, frame: &mut Vec<u8>, room: usize) -> io::Result<bool> {
        let Some(source) = &mut self.source else { return Ok(false) };
        self.waiting = !self.regular && !readable(source)?;
        if self.waiting {
            return Ok(false);
        }
        let start = UDP_HEADERS_BYTES + HEADER_BYTES;
        link.start_message(frame, INPUT);
        frame.resize(room, 0);
        let read = loop {
            match source.read(&mut frame[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal in the background, for one: it has no input to give.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break 0,
                result => break result?,
            }
        };
        if read == 0 {
            self.source = None;
            self.waiting = false;
            link.start_message(frame, INPUT_END);
        } else {
            frame.truncate(start + read);
        }
        link.finish(frame);
        Ok(true)
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

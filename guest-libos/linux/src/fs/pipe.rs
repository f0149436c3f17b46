//! Pipes: bytes between two ends, at most 64 KiB of them.
use super::{
    Fs,
    inode::{Kind, Mount},
    limits::{MAX_PIPES, PIPE_ATOMIC, PIPE_CAPACITY},
    ready::Edges,
    world::Events,
};
use crate::errno::Errno;
use alloc::collections::VecDeque;
use linux_raw_sys::general as abi;

/// What using a pipe gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Moved(usize),
    /// Nothing can be moved now.
    Wait,
    /// Nobody reads any more.
    Broken,
}

/// The bytes on their way, and how many descriptions each end has.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    pub(super) readers: u32,
    pub(super) writers: u32,
    pub(super) edges: Edges,
}

impl Pipe {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Flow {
        let count = buffer.len().min(self.bytes.len());
        if count == 0 {
            let end = buffer.is_empty() || self.writers == 0;
            return if end { Flow::Moved(0) } else { Flow::Wait };
        }
        self.peek(&mut buffer[..count]);
        self.take(count);
        Flow::Moved(count)
    }

    /// Bytes that can be written.
    pub(super) fn room(&self) -> usize {
        PIPE_CAPACITY - self.bytes.len()
    }

    /// Copies the first bytes, and leaves them there: how many there were for the buffer.
    pub(super) fn peek(&self, buffer: &mut [u8]) -> usize {
        let (front, back) = self.bytes.as_slices();
        let count = buffer.len().min(self.bytes.len());
        let (one, other) = buffer[..count].split_at_mut(count.min(front.len()));
        one.copy_from_slice(&front[..one.len()]);
        other.copy_from_slice(&back[..other.len()]);
        count
    }

    /// Takes the first bytes away.
    pub(super) fn take(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.edges.write += 1;
    }

    /// Writes what has room; up to `PIPE_BUF` bytes all or nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Flow {
        if bytes.is_empty() {
            return Flow::Moved(0);
        }
        if self.readers == 0 {
            return Flow::Broken;
        }
        let room = self.room();
        let count = bytes.len().min(room);
        // As on Linux, trying to write into a full pipe is an edge too.
        self.edges.read += 1;
        if count < bytes.len() && (count == 0 || bytes.len() <= PIPE_ATOMIC) {
            return Flow::Wait;
        }
        self.bytes.extend(&bytes[..count]);
        Flow::Moved(count)
    }

    /// Readiness of an end that may `read` or `write`.
    pub(super) fn ready(&self, read: bool, write: bool) -> Events {
        let input = Events::IN.when(!self.bytes.is_empty()).and(Events::HUP.when(self.writers == 0));
        // As Linux has it: room for one page makes a pipe writable.
        let room = self.room() >= PIPE_ATOMIC;
        let output = Events::OUT.when(room).and(Events::ERR.when(self.readers == 0));
        let none = Events::NONE;
        (if read { input } else { none }).and(if write { output } else { none })
    }
}

impl Fs {
    /// pipe2(2): the end to read from, and the end to write to.
    pub fn pipe2(&mut self, flags: u32) -> Result<[i32; 2], Errno> {
        if flags & !(abi::O_CLOEXEC | abi::O_NONBLOCK | abi::O_DIRECT) != 0 {
            return Err(Errno::EINVAL);
        }
        let first = self.lowest_free(0)?;
        self.lowest_free(first.cast_unsigned() as usize + 1)?;
        if self.inodes.pipes >= MAX_PIPES {
            return Err(Errno::ENFILE);
        }
        let (status, close_on_exec) = (flags & abi::O_NONBLOCK, flags & abi::O_CLOEXEC != 0);
        let read = abi::O_RDONLY | status;
        self.inodes.budget.charge(PIPE_CAPACITY).map_err(|_| Errno::ENFILE)?;
        let pipe = Kind::Pipe(Pipe::default());
        let read = match self.install_new(pipe, 0o600, Mount::Nameless, read, close_on_exec) {
            Ok(read) => read,
            Err(error) => {
                self.inodes.budget.release(PIPE_CAPACITY);
                return Err(error);
            }
        };
        self.inodes.pipes += 1;
        let ino = self.description(read)?.ino;
        let write = self.install(ino, abi::O_WRONLY | status, None, close_on_exec)?;
        Ok([read, write])
    }
}

//! Reading into and writing from several buffers: readv(2), writev(2).
use super::{Fs, Stop, limits::PIPE_ATOMIC};
use crate::errno::Errno;
use alloc::vec::Vec;

/// Buffers to read into, given one at a time: those of a program may overlap.
pub trait Buffers {
    /// The buffer at `place`, from 0; `None` after the last.
    fn buffer(&mut self, place: usize) -> Option<&mut [u8]>;
}

impl Fs {
    /// readv(2), or with an offset preadv(2).
    pub fn readv(&mut self, fd: i32, buffers: &mut impl Buffers, offset: Option<i64>) -> Result<usize, Stop> {
        if let (Ok(socket), None) = (self.socket_of(fd), offset) {
            return self.receive_bytes(fd, socket, buffers);
        }
        let mut done = 0;
        let mut first = true;
        for place in 0.. {
            let Some(buffer) = buffers.buffer(place) else { break };
            // An empty vector still finds out whether the descriptor can be read; empty parts of others say nothing.
            if buffer.is_empty() && !first {
                continue;
            }
            first = false;
            let result = match offset {
                Some(offset) => self.pread(fd, buffer, offset.saturating_add_unsigned(done as u64)),
                None => self.read(fd, buffer),
            };
            match result {
                Ok(count) => done += count,
                Err(stop) if done == 0 => return Err(stop),
                Err(_) => return Ok(done),
            }
            if done == 0 && !buffer.is_empty() || result.is_ok_and(|count| count < buffer.len()) {
                break;
            }
        }
        if first && !self.description(fd)?.readable() {
            return Err(Errno::EBADF.into());
        }
        Ok(done)
    }

    /// writev(2), or with an offset pwritev(2). Up to `PIPE_BUF` bytes go into a pipe in one piece.
    pub fn writev(&mut self, fd: i32, buffers: &[&[u8]], offset: Option<i64>) -> Result<usize, Stop> {
        if let (Ok(socket), None) = (self.socket_of(fd), offset) {
            return self.send_bytes(fd, socket, buffers);
        }
        let total = buffers.iter().fold(0_usize, |sum, bytes| sum.saturating_add(bytes.len()));
        if offset.is_none() && total <= PIPE_ATOMIC {
            let mut joined = Vec::with_capacity(total);
            buffers.iter().for_each(|bytes| joined.extend_from_slice(bytes));
            return self.write(fd, &joined);
        }
        let mut done = 0;
        for bytes in buffers.iter().filter(|bytes| !bytes.is_empty()) {
            let result = match offset {
                Some(offset) => self.pwrite(fd, bytes, offset.saturating_add_unsigned(done as u64)),
                None => self.write(fd, bytes),
            };
            match result {
                Ok(count) => done += count,
                Err(Stop::Blocked { done: more, wait }) => return Err(Stop::Blocked { done: done + more, wait }),
                Err(stop) if done == 0 => return Err(stop),
                Err(_) => break,
            }
            if result.is_ok_and(|count| count < bytes.len()) {
                break;
            }
        }
        Ok(done)
    }
}

//! splice(2): bytes between a pipe and something else, or another pipe.
use super::{
    Copied, Fs, Stop,
    inode::{Device, Ino, Kind},
    limits::PIPE_CAPACITY,
    pipe::Pipe,
    world::Events,
};
use crate::errno::Errno;
use alloc::vec;
use linux_raw_sys::general as abi;

impl Fs {
    /// splice(2). At most what a pipe holds at a time.
    pub fn splice(&mut self, wanted: Copied, from: i32, to: i32, flags: u32) -> Result<Copied, Stop> {
        let room = self.room_to_splice(wanted, from, to, flags)?;
        let mut buffer = vec![0; wanted.count.min(room)];
        let source = self.description(from)?.ino;
        let read = match (self.pipe(source), wanted.from) {
            (Some(pipe), _) => pipe.peek(&mut buffer),
            (None, Some(offset)) => self.pread(from, &mut buffer, offset)?,
            (None, None) => self.read(from, &mut buffer)?,
        };
        let written = match wanted.to {
            Some(offset) => self.pwrite(to, &buffer[..read], offset),
            None => self.write(to, &buffer[..read]),
        };
        let count = match written {
            // What is left over stays in the pipe, and is a short count here.
            Err(Stop::Blocked { done, .. }) if done > 0 => done,
            written => written?,
        };
        if let Kind::Pipe(pipe) = &mut self.inodes.get_mut(source)?.kind {
            pipe.take(count);
            self.touch();
        }
        let after = |offset: Option<i64>| offset.map(|offset| offset + count as i64);
        Ok(Copied { count, from: after(wanted.from), to: after(wanted.to) })
    }

    /// How many bytes can be moved now, if they come; else why none can be, or that one of the pipes has to be waited for.
    fn room_to_splice(&self, wanted: Copied, from: i32, to: i32, flags: u32) -> Result<usize, Stop> {
        let (input, output) = (self.description(from)?, self.description(to)?);
        let (source, target) = (self.pipe(input.ino), self.pipe(output.ino));
        if source.is_some() && wanted.from.is_some() || target.is_some() && wanted.to.is_some() {
            return Err(Errno::ESPIPE.into());
        }
        if !input.readable() || !output.writable() {
            return Err(Errno::EBADF.into());
        }
        let appends = target.is_none() && output.flags & abi::O_APPEND != 0;
        let possible = self.splices(input.ino, wanted.from) && self.splices(output.ino, wanted.to);
        if input.ino == output.ino || source.is_none() && target.is_none() || appends || !possible {
            return Err(Errno::EINVAL.into());
        }
        let wait = |fd, events| match flags & abi::SPLICE_F_NONBLOCK {
            0 => Err(self.blocked(fd, 0, events)),
            _ => Err(Errno::EAGAIN.into()),
        };
        match target {
            Some(pipe) if pipe.readers == 0 => return Err(Stop::BrokenPipe),
            Some(pipe) if pipe.room() == 0 => return wait(to, Events::OUT),
            _ => {}
        }
        match source {
            Some(pipe) if pipe.len() == 0 && pipe.writers > 0 => wait(from, Events::IN),
            _ => Ok(target.map_or(PIPE_CAPACITY, Pipe::room)),
        }
    }

    fn pipe(&self, ino: Ino) -> Option<&Pipe> {
        match &self.inodes.get(ino).ok()?.kind {
            Kind::Pipe(pipe) => Some(pipe),
            _ => None,
        }
    }

    /// Whether Linux would move its bytes, from or to an offset if one is given.
    fn splices(&self, ino: Ino, offset: Option<i64>) -> bool {
        let Ok(kind) = self.inodes.get(ino).map(|inode| &inode.kind) else { return false };
        let known = matches!(
            kind,
            Kind::Pipe(_) | Kind::File(_) | Kind::Socket(_) | Kind::Standard(_) | Kind::Device(Device::Null)
        );
        known && (offset.is_none() || kind.seekable())
    }
}

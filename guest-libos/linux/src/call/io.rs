//! Reading and writing: read(2), write(2) and their relatives.

use super::{Answer, Machine, On, Process, Stop, Waits, buffers};
use crate::{
    errno::Errno,
    fs::{self, Copied, Generated, limits::MAX_TRANSFER},
    mm::Access,
};
use linux_raw_sys::general as abi;

/// Flags of `splice`. But for that not to wait they say how, which makes no difference here.
const SPLICE: u64 = (abi::SPLICE_F_MOVE | abi::SPLICE_F_NONBLOCK | abi::SPLICE_F_MORE | abi::SPLICE_F_GIFT) as u64;

/// Bytes of one transfer, as on Linux.
pub(super) fn clip(bytes: u64) -> u64 {
    bytes.min(MAX_TRANSFER as u64)
}

/// The offset of `preadv2` and `pwritev2`, where -1 stands for the file's own.
pub(super) fn offset2(offset: u64) -> Option<u64> {
    if offset == u64::MAX { None } else { Some(offset) }
}

impl<M: Machine> Process<M> {
    /// Bytes that the call moved before it waited.
    pub(super) fn done(&mut self) -> u64 {
        self.again.take().map_or(0, |again| again.done)
    }

    /// What a transfer answers, or what it waits for, after the `done` bytes of earlier rounds.
    #[inline]
    pub(super) fn moved(&mut self, result: Result<usize, fs::Stop>, done: u64) -> Answer {
        match result {
            Ok(count) => Ok(done + count as u64),
            Err(stop) => self.not_moved(stop, done),
        }
    }

    pub(super) fn not_moved(&mut self, stop: fs::Stop, done: u64) -> Answer {
        let error = match stop {
            fs::Stop::Blocked { done: more, wait } => {
                let done = done + more as u64;
                return Err(Stop::Waits(Waits { on: On::File(wait), until_ns: None, done }));
            }
            fs::Stop::Error(error) => error.into(),
            fs::Stop::BrokenPipe => self.broken_pipe(),
            // It was given, and is not asked for twice.
            fs::Stop::Text(_) => Errno::EIO.into(),
        };
        if done > 0 { Ok(done) } else { Err(error) }
    }

    /// Makes the text that a read wants.
    fn give_text(&mut self, descriptor: u64, file: Generated) -> Result<(), Errno> {
        let text = self.generated(file);
        self.files.set_text(descriptor as i32, text)
    }

    /// `read`, and with an offset `pread64`.
    pub(super) fn read(&mut self, descriptor: u64, address: u64, bytes: u64, offset: Option<u64>) -> Answer {
        self.again = None;
        let read = |process: &mut Self| {
            let buffer = buffers::output(&mut process.space, address, clip(bytes))?;
            match offset {
                None => process.files.read(descriptor as i32, buffer),
                Some(offset) => process.files.pread(descriptor as i32, buffer, offset.cast_signed()),
            }
        };
        let mut result = read(self);
        if let Err(fs::Stop::Text(file)) = result {
            self.give_text(descriptor, file)?;
            result = read(self);
        }
        self.moved(result, 0)
    }

    /// `readv`, `preadv` and `preadv2`; without an offset at the file's own.
    pub(super) fn readv(&mut self, descriptor: u64, address: u64, count: u64, offset: Option<u64>) -> Answer {
        let pieces = buffers::vector(&self.space, address, count, Access::Write)?;
        self.readv_pieces(descriptor, &pieces, offset)
    }

    fn readv_pieces(&mut self, descriptor: u64, pieces: &[(u64, u64)], offset: Option<u64>) -> Answer {
        self.again = None;
        let offset = offset.map(u64::cast_signed);
        for &(address, bytes) in pieces {
            self.space.check_bytes(address, bytes, Access::Write)?;
        }
        let mut result = self.files.readv(descriptor as i32, &mut buffers::Pieces(&mut self.space, pieces), offset);
        if let Err(fs::Stop::Text(file)) = result {
            self.give_text(descriptor, file)?;
            result = self.files.readv(descriptor as i32, &mut buffers::Pieces(&mut self.space, pieces), offset);
        }
        self.moved(result, 0)
    }

    pub(super) fn write(&mut self, descriptor: u64, address: u64, bytes: u64) -> Answer {
        let done = self.done();
        let bytes = buffers::input(&self.space, address, clip(bytes))?;
        let rest = bytes.get(done as usize..).unwrap_or_default();
        let result = self.files.write(descriptor as i32, rest);
        self.moved(result, done)
    }

    pub(super) fn pwrite64(&mut self, descriptor: u64, address: u64, bytes: u64, offset: u64) -> Answer {
        let bytes = buffers::input(&self.space, address, clip(bytes))?;
        let result = self.files.pwrite(descriptor as i32, bytes, offset.cast_signed());
        self.moved(result, 0)
    }

    /// `writev`, `pwritev` and `pwritev2`; without an offset at the file's own.
    pub(super) fn writev(&mut self, descriptor: u64, address: u64, count: u64, offset: Option<u64>) -> Answer {
        let done = self.done();
        let pieces = buffers::vector(&self.space, address, count, Access::Read)?;
        let bytes = buffers::parts(&self.space, &pieces, done)?;
        let result = self.files.writev(descriptor as i32, &bytes, offset.map(u64::cast_signed));
        self.moved(result, done)
    }

    pub(super) fn sendfile(&mut self, to: u64, from: u64, offset: u64, count: u64) -> Answer {
        self.again = None;
        let start = self.start(offset)?;
        let mut result = self.files.sendfile(to as i32, from as i32, start, clip(count) as usize);
        if let Err(fs::Stop::Text(file)) = result {
            self.give_text(from, file)?;
            result = self.files.sendfile(to as i32, from as i32, start, clip(count) as usize);
        }
        self.copied(result, offset, 0)
    }

    /// An offset where it is given.
    fn start(&mut self, address: u64) -> Result<Option<i64>, Errno> {
        if address == 0 {
            return Ok(None);
        }
        let [offset] = self.get(address)?;
        Ok(Some(offset.cast_signed()))
    }

    pub(super) fn splice(&mut self, [from, from_at, to, to_at, count, flags]: [u64; 6]) -> Answer {
        if count == 0 {
            return Ok(0);
        }
        if flags & !SPLICE != 0 {
            return Err(Errno::EINVAL.into());
        }
        let wanted = Copied { count: clip(count) as usize, from: self.start(from_at)?, to: self.start(to_at)? };
        let result = self.files.splice(wanted, from as i32, to as i32, flags as u32);
        self.copied(result, from_at, to_at)
    }

    pub(super) fn copy_file_range(&mut self, [from, from_at, to, to_at, count, flags]: [u64; 6]) -> Answer {
        let wanted = Copied { count: clip(count) as usize, from: self.start(from_at)?, to: self.start(to_at)? };
        let result = self.files.copy_file_range(wanted, from as i32, to as i32, flags as u32);
        self.copied(result, from_at, to_at)
    }

    /// Tells the program where its offsets are then.
    fn copied(&mut self, result: Result<Copied, fs::Stop>, from_at: u64, to_at: u64) -> Answer {
        let copied = match result {
            Ok(copied) => copied,
            Err(stop) => return self.not_moved(stop, 0),
        };
        for (offset, address) in [(copied.from, from_at), (copied.to, to_at)] {
            if let Some(offset) = offset {
                self.put(address, &[offset.cast_unsigned()])?;
            }
        }
        Ok(copied.count as u64)
    }
}

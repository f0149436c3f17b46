//! sendfile(2) and copy_file_range(2): reads and writes in turn.
use super::{
    Fs, Stop,
    inode::{Ino, Kind},
    limits::{CHUNK, MAX_COPY},
};
use crate::errno::Errno;
use alloc::vec;
use linux_raw_sys::general as abi;

/// How much was moved, and what the given offsets are then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Bytes.
    pub count: usize,
    /// Where reading goes on, if an offset was given.
    pub from: Option<i64>,
    /// Where writing goes on, if an offset was given.
    pub to: Option<i64>,
}

impl Fs {
    /// sendfile(2). At most 16 MiB at a time.
    pub fn sendfile(&mut self, to: i32, from: i32, offset: Option<i64>, count: usize) -> Result<Copied, Stop> {
        let (input, output) = (self.description(from)?, self.description(to)?);
        if !input.readable() || !output.writable() {
            return Err(Errno::EBADF.into());
        }
        if output.flags & abi::O_APPEND != 0 || !self.seekable(from)? {
            return Err(Errno::EINVAL.into());
        }
        self.copy(to, from, Copied { count, from: offset, to: None })
    }

    /// copy_file_range(2). At most 16 MiB at a time.
    pub fn copy_file_range(&mut self, wanted: Copied, from: i32, to: i32, flags: u32) -> Result<Copied, Stop> {
        let (input, output) = (self.description(from)?, self.description(to)?);
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        let kinds = [&self.inodes.get(input.ino)?.kind, &self.inodes.get(output.ino)?.kind];
        if kinds.iter().any(|kind| matches!(kind, Kind::Directory(_) | Kind::Descriptors(_))) {
            return Err(Errno::EISDIR.into());
        }
        if !kinds.iter().all(|kind| matches!(kind, Kind::File(_))) {
            return Err(Errno::EINVAL.into());
        }
        if !input.readable() || !output.writable() || output.flags & abi::O_APPEND != 0 {
            return Err(Errno::EBADF.into());
        }
        if input.ino == output.ino {
            let start = |given: Option<i64>, offset: u64| given.unwrap_or_else(|| offset.cast_signed());
            let (source, target) = (start(wanted.from, input.offset), start(wanted.to, output.offset));
            // What is beyond the end is not copied, and so does not overlap.
            let left = self.file_len(input.ino).saturating_sub(source.max(0).cast_unsigned());
            if source.abs_diff(target) < left.min(wanted.count as u64) {
                return Err(Errno::EINVAL.into());
            }
        }
        self.copy(to, from, wanted)
    }

    fn file_len(&self, ino: Ino) -> u64 {
        match self.inodes.get(ino).map(|inode| &inode.kind) {
            Ok(Kind::File(content)) => content.len(),
            _ => 0,
        }
    }

    fn copy(&mut self, to: i32, from: i32, wanted: Copied) -> Result<Copied, Stop> {
        let total = wanted.count.min(MAX_COPY);
        let mut buffer = vec![0; total.min(CHUNK)];
        let mut state = Copied { count: 0, ..wanted };
        while state.count < total {
            let piece = buffer.len().min(total - state.count);
            match self.copy_piece(to, from, &mut buffer[..piece], &mut state) {
                Ok(0) => break,
                Ok(_) => {}
                Err(stop) if state.count == 0 => return Err(stop),
                Err(_) => break,
            }
        }
        Ok(state)
    }

    /// Moves one buffer; what is read and then not written is read again later.
    fn copy_piece(&mut self, to: i32, from: i32, buffer: &mut [u8], state: &mut Copied) -> Result<usize, Stop> {
        let start = match state.from {
            Some(offset) => offset,
            None => self.description(from)?.offset.cast_signed(),
        };
        let read = self.pread(from, buffer, start)?;
        let written = match state.to {
            Some(offset) => self.pwrite(to, &buffer[..read], offset),
            None => self.write(to, &buffer[..read]),
        };
        let (count, stop) = match written {
            // What is left over is a short count here: the caller goes on from the offset.
            Err(Stop::Blocked { done, wait }) => (done, (done == 0).then_some(Stop::Blocked { done, wait })),
            Err(stop) => (0, Some(stop)),
            Ok(count) => (count, None),
        };
        match &mut state.from {
            Some(offset) => *offset += count as i64,
            None => self.description_mut(from)?.offset = start.cast_unsigned() + count as u64,
        }
        state.to = state.to.map(|offset| offset + count as i64);
        state.count += count;
        stop.map_or(Ok(count), Err)
    }
}

//! Calls on files.

use super::{Answer, Machine, Process, user::Stream};
use crate::errno::Errno;
use alloc::{vec, vec::Vec};

/// Most bytes of one read or write, as on Linux.
const MOST: u64 = 0x7fff_f000;
/// Most pieces of one `writev`.
const PIECES: u64 = 1024;

impl<M: Machine> Process<M> {
    pub(super) fn descriptor(&mut self, descriptor: u64) -> Result<u64, Errno> {
        if (descriptor as u32) < 3 { Ok(descriptor) } else { Err(Errno::EBADF) }
    }

    fn stream(descriptor: u64) -> Result<Stream, Errno> {
        match descriptor as u32 {
            1 => Ok(Stream::Output),
            2 => Ok(Stream::Error),
            _ => Err(Errno::EBADF),
        }
    }

    pub(super) fn write(&mut self, descriptor: u64, address: u64, bytes: u64) -> Answer {
        let (stream, bytes) = (Self::stream(descriptor)?, bytes.min(MOST));
        let piece: Vec<u8> = self.input(address, bytes)?.to_vec();
        self.space.pages().write(stream, &piece);
        Ok(bytes)
    }

    pub(super) fn writev(&mut self, descriptor: u64, address: u64, count: u64) -> Answer {
        if count > PIECES {
            return Err(Errno::EINVAL.into());
        }
        let mut all = 0;
        for n in 0..count {
            let [address, bytes] = self.get(address + 16 * n)?;
            all += self.write(descriptor, address, bytes)?;
        }
        Ok(all)
    }

    pub(super) fn read(&mut self, descriptor: u64, address: u64, bytes: u64) -> Answer {
        if descriptor as u32 != 0 {
            return Err(Errno::EBADF.into());
        }
        let mut piece = vec![0; bytes.min(1 << 16) as usize];
        self.output(address, piece.len() as u64)?;
        let count = self.space.pages().read(&mut piece);
        self.output(address, count as u64)?.copy_from_slice(&piece[..count]);
        Ok(count as u64)
    }

    /// A standard stream is a pipe.
    pub(super) fn fstat(&mut self, descriptor: u64, address: u64) -> Answer {
        self.descriptor(descriptor)?;
        let out = self.output(address, 144)?;
        out.fill(0);
        out[24..28].copy_from_slice(&0o010_600_u32.to_le_bytes());
        out[16..24].copy_from_slice(&1_u64.to_le_bytes());
        out[56..64].copy_from_slice(&4096_u64.to_le_bytes());
        Ok(0)
    }

    pub(super) fn newfstatat(&mut self, descriptor: u64, path: u64, address: u64, flags: u64) -> Answer {
        const EMPTY_PATH: u64 = 0x1000;
        if flags & EMPTY_PATH != 0 && self.input(path, 1)? == [0] {
            return self.fstat(descriptor, address);
        }
        Err(Errno::ENOENT.into())
    }

    pub(super) fn readlink(&mut self, _path: u64, address: u64, bytes: u64) -> Answer {
        let path = self.path.clone();
        let count = path.len().min(bytes as usize);
        self.output(address, count as u64)?.copy_from_slice(&path[..count]);
        Ok(count as u64)
    }
}

//! Calls on names: mkdir(2), unlink(2), rename(2), link(2), symlink(2), readlink(2), and the working directory.

use super::{Answer, Machine, Process, buffers};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

impl<M: Machine> Process<M> {
    pub(super) fn mkdirat(&mut self, directory: u64, path: u64, mode: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.mkdirat(directory as i32, path, mode as u32).map(|()| 0)?)
    }

    pub(super) fn unlinkat(&mut self, directory: u64, path: u64, flags: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.unlinkat(directory as i32, path, flags as u32).map(|()| 0)?)
    }

    pub(super) fn renameat2(&mut self, [from, old, to, new, flags]: [u64; 5]) -> Answer {
        let (old, new) = (buffers::text(&self.space, old)?, buffers::text(&self.space, new)?);
        Ok(self.files.renameat2(from as i32, old, to as i32, new, flags as u32).map(|()| 0)?)
    }

    pub(super) fn linkat(&mut self, [from, old, to, new, flags]: [u64; 5]) -> Answer {
        let (old, new) = (buffers::text(&self.space, old)?, buffers::text(&self.space, new)?);
        Ok(self.files.linkat(from as i32, old, to as i32, new, flags as u32).map(|()| 0)?)
    }

    pub(super) fn symlinkat(&mut self, target: u64, directory: u64, path: u64) -> Answer {
        let (target, path) = (buffers::text(&self.space, target)?, buffers::text(&self.space, path)?);
        Ok(self.files.symlinkat(target, directory as i32, path).map(|()| 0)?)
    }

    pub(super) fn readlinkat(&mut self, directory: u64, path: u64, address: u64, bytes: u64) -> Answer {
        // The kernel takes an `int`.
        let room = usize::try_from(bytes as i32).ok().filter(|room| *room > 0).ok_or(Errno::EINVAL)?;
        let path = buffers::text(&self.space, path)?;
        let target = self.files.readlinkat(directory as i32, path)?;
        let count = target.len().min(room);
        self.output(address, count as u64)?.copy_from_slice(&target[..count]);
        Ok(count as u64)
    }

    pub(super) fn chdir(&mut self, path: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.chdir(path).map(|()| 0)?)
    }

    /// The bytes of the path, its NUL included.
    pub(super) fn getcwd(&mut self, address: u64, bytes: u64) -> Answer {
        let mut path = self.files.getcwd()?;
        path.push(0);
        let count = path.len() as u64;
        if count > bytes {
            return Err(Errno::ERANGE.into());
        }
        self.output(address, count)?.copy_from_slice(&path);
        Ok(count)
    }

    pub(super) fn truncate(&mut self, path: u64, bytes: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.truncate(path, bytes.cast_signed()).map(|()| 0)?)
    }

    /// There is one root: that it stays is all that may be asked.
    pub(super) fn chroot(&mut self, path: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.chroot(path).map(|()| 0)?)
    }

    /// There is one program: what could be executed is `ENOSYS`, and all else what Linux says of it.
    pub(super) fn execveat(&mut self, directory: u64, path: u64, flags: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        let mode = self.files.fstatat(directory as i32, path, flags as u32)?.mode;
        if mode & abi::S_IFMT == abi::S_IFLNK {
            return Err(Errno::ELOOP.into());
        }
        if mode & abi::S_IFMT != abi::S_IFREG || mode & 0o111 == 0 {
            return Err(Errno::EACCES.into());
        }
        self.refuse_process()
    }

    /// Nothing can be put on the one root: only whether the path is one is looked at.
    pub(super) fn not_permitted(&mut self, path: u64) -> Answer {
        buffers::text(&self.space, path)?;
        Err(Errno::EPERM.into())
    }
}

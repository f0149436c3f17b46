//! The size of files, and keeping what was written: truncate(2), fallocate(2), fsync(2).
use super::{
    Fs,
    inode::{Ino, Kind},
    walk::{Follow, Node},
};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

impl Fs {
    /// Gives a regular file another size.
    pub(super) fn cut(&mut self, ino: Ino, len: u64) -> Result<(), Errno> {
        let (content, budget) = self.inodes.content(ino)?;
        content.resize(len, budget);
        let now = self.world.now();
        self.inodes.get_mut(ino)?.modified(now);
        Ok(())
    }

    /// truncate(2).
    pub fn truncate(&mut self, path: &[u8], len: i64) -> Result<(), Errno> {
        let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
        let (node, _) = self.node(abi::AT_FDCWD, path, Follow::Always)?;
        let Node::Inode(ino) = node else { return Err(Errno::EINVAL) };
        if self.is_directory(node) {
            return Err(Errno::EISDIR);
        }
        self.cut(ino, len)
    }

    /// ftruncate(2).
    pub fn ftruncate(&mut self, fd: i32, len: i64) -> Result<(), Errno> {
        let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
        let open = self.description(fd)?;
        if !open.writable() {
            return Err(Errno::EINVAL);
        }
        self.cut(open.ino, len)
    }

    /// fallocate(2). Memory is only reserved when it is written to.
    pub fn fallocate(&mut self, fd: i32, mode: u32, offset: i64, len: i64) -> Result<(), Errno> {
        let open = self.description(fd)?;
        let keep = mode & abi::FALLOC_FL_KEEP_SIZE != 0;
        let (Ok(start), Ok(count @ 1..)) = (u64::try_from(offset), u64::try_from(len)) else {
            return Err(Errno::EINVAL);
        };
        let change = mode & !abi::FALLOC_FL_KEEP_SIZE;
        if !matches!(change, 0 | abi::FALLOC_FL_PUNCH_HOLE | abi::FALLOC_FL_ZERO_RANGE)
            || change == abi::FALLOC_FL_PUNCH_HOLE && !keep
        {
            return Err(Errno::EOPNOTSUPP);
        }
        let ino = open.ino;
        if !open.writable() {
            return Err(Errno::EBADF);
        }
        match &self.inodes.get(ino)?.kind {
            Kind::File(_) => {}
            Kind::Pipe(_) | Kind::Standard(_) => return Err(Errno::ESPIPE),
            Kind::Directory(_) | Kind::Descriptors(_) => return Err(Errno::EISDIR),
            _ => return Err(Errno::ENODEV),
        }
        let end = start.checked_add(count).filter(|end| *end <= i64::MAX.cast_unsigned()).ok_or(Errno::EFBIG)?;
        let (content, budget) = self.inodes.content(ino)?;
        if change != 0 {
            content.punch(start, end, budget)?;
        }
        if !keep && end > content.len() {
            content.resize(end, budget);
        }
        let now = self.world.now();
        self.inodes.get_mut(ino)?.modified(now);
        Ok(())
    }

    /// fsync(2), fdatasync(2): memory is as durable as anything here.
    pub fn fsync(&self, fd: i32) -> Result<(), Errno> {
        match self.inodes.get(self.description(fd)?.ino)?.kind {
            Kind::File(_) | Kind::Directory(_) | Kind::Descriptors(_) | Kind::Generated(_) => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}

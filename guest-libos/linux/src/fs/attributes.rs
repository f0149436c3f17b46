//! What is recorded about files: chmod(2), chown(2), utimensat(2), access(2).
use super::{
    Fs,
    inode::{Ino, Inode, Kind, Mount, Timespec},
    walk::Node,
};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

/// What utimensat(2) does with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Sets it to the present.
    Now,
    /// Leaves it.
    Omit,
    /// Sets it.
    At(Timespec),
}

impl Touch {
    /// Of a `struct timespec`.
    pub fn new(sec: i64, nsec: i64) -> Result<Self, Errno> {
        match u32::try_from(nsec) {
            Ok(abi::UTIME_NOW) => Ok(Self::Now),
            Ok(abi::UTIME_OMIT) => Ok(Self::Omit),
            Ok(nsec @ 0..1_000_000_000) => Ok(Self::At(Timespec { sec, nsec })),
            _ => Err(Errno::EINVAL),
        }
    }

    fn apply(self, time: &mut Timespec, now: Timespec) {
        match self {
            Self::Now => *time = now,
            Self::Omit => {}
            Self::At(at) => *time = at,
        }
    }
}

impl Fs {
    /// An inode whose attributes may be changed.
    fn attributes(&mut self, node: Node) -> Result<&mut Inode, Errno> {
        let Node::Inode(ino) = node else { return Err(Errno::EPERM) };
        let inode = self.inodes.get_mut(ino)?;
        if matches!(inode.mount, Mount::Proc | Mount::Sys) { Err(Errno::EPERM) } else { Ok(inode) }
    }

    fn opened(&self, fd: i32) -> Result<Node, Errno> {
        self.description(fd).map(|open| Node::Inode(open.ino))
    }

    fn chmod(&mut self, node: Node, mode: u32) -> Result<(), Errno> {
        let now = self.world.now();
        if self.is_link(node) {
            return Err(Errno::EOPNOTSUPP);
        }
        let inode = self.attributes(node)?;
        inode.mode = mode & 0o7777;
        inode.changed(now);
        Ok(())
    }

    /// fchmodat(2), and fchmodat2 with flags.
    pub fn fchmodat(&mut self, dirfd: i32, path: &[u8], mode: u32, flags: u32) -> Result<(), Errno> {
        if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let node = self.node_at(dirfd, path, flags)?;
        self.chmod(node, mode)
    }

    /// fchmod(2).
    pub fn fchmod(&mut self, fd: i32, mode: u32) -> Result<(), Errno> {
        let node = self.opened(fd)?;
        self.chmod(node, mode)
    }

    fn chown(&mut self, node: Node, uid: u32, gid: u32) -> Result<(), Errno> {
        let now = self.world.now();
        let inode = self.attributes(node)?;
        if uid != u32::MAX {
            inode.uid = uid;
        }
        if gid != u32::MAX {
            inode.gid = gid;
        }
        inode.changed(now);
        Ok(())
    }

    /// fchownat(2); `u32::MAX` leaves an owner as it is.
    pub fn fchownat(&mut self, dirfd: i32, path: &[u8], uid: u32, gid: u32, flags: u32) -> Result<(), Errno> {
        if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let node = self.node_at(dirfd, path, flags)?;
        self.chown(node, uid, gid)
    }

    /// fchown(2).
    pub fn fchown(&mut self, fd: i32, uid: u32, gid: u32) -> Result<(), Errno> {
        let node = self.opened(fd)?;
        self.chown(node, uid, gid)
    }

    /// utimensat(2): access and modification time. Without a path, of what `dirfd` is.
    pub fn utimensat(&mut self, dirfd: i32, path: Option<&[u8]>, times: [Touch; 2], flags: u32) -> Result<(), Errno> {
        if flags & !(abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        if times == [Touch::Omit; 2] {
            return Ok(());
        }
        let node = match path {
            Some(path) => self.node_at(dirfd, path, flags)?,
            None if flags != 0 => return Err(Errno::EINVAL),
            None => self.opened(dirfd)?,
        };
        let now = self.world.now();
        let present = Timespec::from_ns(now.realtime_ns);
        let inode = self.attributes(node)?;
        times[0].apply(&mut inode.atime, present);
        times[1].apply(&mut inode.mtime, present);
        inode.changed(now);
        Ok(())
    }

    /// faccessat2(2). The process is root: only executing what nobody may, and writing what cannot be, is refused.
    pub fn faccessat(&self, dirfd: i32, path: &[u8], mode: u32, flags: u32) -> Result<(), Errno> {
        const ANY: u32 = abi::R_OK | abi::W_OK | abi::X_OK;
        if mode & !ANY != 0 || flags & !(abi::AT_EACCESS | abi::AT_SYMLINK_NOFOLLOW | abi::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let Node::Inode(ino) = self.node_at(dirfd, path, flags & !abi::AT_EACCESS)? else { return Ok(()) };
        self.permitted(ino, mode)
    }

    fn permitted(&self, ino: Ino, mode: u32) -> Result<(), Errno> {
        let inode = self.inodes.get(ino)?;
        let fixed = matches!(inode.mount, Mount::Proc | Mount::Sys);
        let executable = inode.mode & 0o111 != 0 || inode.is_directory();
        if mode & abi::X_OK != 0 && !executable {
            return Err(Errno::EACCES);
        }
        if mode & abi::W_OK != 0 && fixed && !matches!(inode.kind, Kind::Symlink(_)) {
            return Err(Errno::EROFS);
        }
        Ok(())
    }
}

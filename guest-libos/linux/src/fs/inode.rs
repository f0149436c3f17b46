//! Inodes: what names and descriptions lead to, counted, so that each lives as long as either does.
//!
//! Everything that can be open is one, pipes and epoll instances too: so `fstat`, `/proc/self/fd` and closing have one form.
use super::{
    content::Content,
    directory::Directory,
    epoll::Epoll,
    event::Counter,
    pipe::Pipe,
    timer::Timer,
    world::{Generated, Now, World},
};
use crate::{errno::Errno, net::SocketId};
use alloc::boxed::Box;

/// The number of an inode, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ino(pub(super) u32);

impl Ino {
    /// No inode: where a directory is that was not put anywhere.
    pub(super) const NONE: Self = Self(0);
    pub(super) const ROOT: Self = Self(1);

    pub(super) const fn slot(self) -> usize {
        (self.0 as usize).wrapping_sub(1)
    }
}

/// Character devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    Null,
    Zero,
    Full,
    Random,
    Urandom,
    Tty,
    /// How far the job is.
    Progress,
}

/// What an inode is.
#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Directory(Directory),
    /// /proc/self/fd: its entries are the descriptors.
    Descriptors(Directory),
    Symlink(Box<[u8]>),
    /// /proc/self/cwd: a link to the working directory, whatever it is called.
    WorkingDirectory,
    Device(Device),
    Generated(Generated),
    /// Standard input, output or error.
    Standard(u8),
    Pipe(Pipe),
    Counter(Counter),
    Timer(Timer),
    Epoll(Epoll),
    Socket(SocketId),
    /// The path that a socket is bound to.
    Bound(SocketId),
}

impl Kind {
    /// Whether its descriptions have an offset.
    pub(super) const fn seekable(&self) -> bool {
        matches!(self, Self::File(_) | Self::Directory(_) | Self::Descriptors(_) | Self::Device(_) | Self::Generated(_))
    }
}

/// Which file system it would be on Linux: neither links nor renames go from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mount {
    Root = 1,
    Dev = 2,
    Proc = 3,
    Sys = 4,
    Nameless = 5,
}

/// A point in time, as in `struct timespec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timespec {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, below 10⁹.
    pub nsec: u32,
}

impl Timespec {
    pub(super) const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / 1_000_000_000).cast_signed(), nsec: (ns % 1_000_000_000) as u32 }
    }
}

/// An inode: its kind, its attributes, and what keeps it.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    /// Permission bits, 0o7777 at most: recorded, not enforced.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mount: Mount,
    /// Entries of directories that mean it.
    pub(super) links: u32,
    /// Descriptions, the working directory and removed directories inside that need it.
    pub(super) holds: u32,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    pub(super) btime: Timespec,
}

impl Inode {
    pub(super) const fn new(kind: Kind, mode: u32, mount: Mount, now: Now) -> Self {
        let time = Timespec::from_ns(now.realtime_ns);
        let (atime, mtime, ctime, btime) = (time, time, time, time);
        Self { kind, mode, uid: 0, gid: 0, mount, links: 0, holds: 0, atime, mtime, ctime, btime }
    }

    pub(super) const fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_) | Kind::Descriptors(_))
    }

    pub(super) const fn directory(&self) -> Result<&Directory, Errno> {
        match &self.kind {
            Kind::Directory(directory) | Kind::Descriptors(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) const fn directory_mut(&mut self) -> Result<&mut Directory, Errno> {
        match &mut self.kind {
            Kind::Directory(directory) | Kind::Descriptors(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Its contents or entries changed.
    pub(super) const fn modified(&mut self, now: Now) {
        self.mtime = Timespec::from_ns(now.realtime_ns);
        self.ctime = self.mtime;
    }

    /// Its attributes or names changed.
    pub(super) const fn changed(&mut self, now: Now) {
        self.ctime = Timespec::from_ns(now.realtime_ns);
    }

    /// It was read: its access time moves as with Linux's `relatime`, but for that of a file read again after a day.
    pub(super) fn was_read(&mut self, world: &dyn World) {
        if self.atime <= self.mtime || self.atime <= self.ctime {
            self.accessed(world.now());
        }
    }

    pub(super) const fn accessed(&mut self, now: Now) {
        self.atime = Timespec::from_ns(now.realtime_ns);
    }
}

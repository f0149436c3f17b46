//! Files and descriptors: the state behind the file system calls of one process, with no I/O of its own.
//!
//! [`Fs`] has a method for each call, on byte slices and plain numbers: whoever dispatches system calls checks the
//! program's addresses, and calls. The tree is in memory: the bundle's files below, borrowed and never written; what the
//! program writes above, bounded in bytes. The embedder is a [`World`]: standard streams, randomness; it
//! also makes the text of generated files when a read asks for it.
//!
//! | module | what |
//! |---|---|
//! | `inode`, `inodes`, `directory`, `content`, `budget` | the tree and its memory |
//! | `walk` | paths |
//! | `description`, `control` | open file descriptions, descriptors, fcntl, ioctl |
//! | `open`, `transfer`, `vectored`, `seek`, `size`, `copy`, `list` | calls on open files |
//! | `names`, `rename`, `links`, `status`, `attributes` | calls on names |
//! | `pipe`, `event`, `timer`, `epoll`, `ready` | what waits, and for what |
//! | `progress` | how far the job is, not told more often than is of use |
//! | `socket`, `connect`, `message` | descriptors of sockets, which are [`crate::net`]'s |
//! | `skeleton`, `output` | what is there at the start, and what is left at the end |
//!
//! The process is root, as in most containers: permission bits are recorded and reported, and never refuse anything but
//! `X_OK` on a file that nobody may execute. Errors are Linux's; `tests/differential.rs` holds them against the host's.
//! Whatever is passed, no call panics, and each does work in proportion to its buffers, or to what the program made.
mod attributes;
mod budget;
mod connect;
mod content;
mod control;
mod copy;
mod description;
mod directory;
mod epoll;
mod event;
mod inode;
mod inodes;
pub mod limits;
mod links;
mod list;
mod mapping;
mod message;
mod names;
mod open;
mod output;
mod pipe;
mod progress;
mod ready;
mod rename;
mod seek;
mod size;
mod skeleton;
mod socket;
mod splice;
mod status;
mod timer;
mod transfer;
mod vectored;
mod walk;
mod world;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::net::Unreachable;
pub use attributes::Touch;
pub(crate) use budget::Budget;
pub use content::Content;
pub use copy::Copied;
pub use epoll::EpollEvent;
pub use inode::Timespec;
pub use mapping::Mapped;
pub(crate) use message::{Send, Told};
pub use output::Output;
pub(crate) use ready::Edges;
pub use ready::{Stop, Wait};
pub use status::Metadata;
pub use timer::TimerSpec;
pub use vectored::Buffers;
pub use world::{Console, Events, Generated, Input, Now, Stream, World};

use crate::{bundle::Tree, errno::Errno, net::Net};
use alloc::{boxed::Box, string::String, vec::Vec};
use description::{Descriptions, Slot};
use inode::Ino;
use inodes::Inodes;
use progress::Pace;

/// What a file system starts with.
pub struct Setup<'a> {
    /// Path below `/` and contents of each file of the bundle.
    pub files: &'a [(&'a str, &'static [u8])],
    /// What the bundle holds besides, with modes and symbolic links; no path may be in both.
    pub tree: &'a Tree<&'static [u8]>,
    /// Absolute path of the program: what `/proc/self/exe` leads to.
    pub program: &'a [u8],
    /// The process's number.
    pub pid: u32,
    /// Bytes that the writable layer may hold.
    pub memory: usize,
}

/// Why there is no file system. Whoever packed the bundle is at fault.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path:?} can't be laid down: {error}; pack the bundle again without it, or give the VM more memory")]
pub struct SetupError {
    /// The path below the root.
    pub path: String,
    /// What is wrong with it: `EEXIST` where something else is there, `ENOSPC` where there is no room.
    pub error: Errno,
}

impl From<Errno> for SetupError {
    fn from(error: Errno) -> Self {
        Self { path: String::new(), error }
    }
}

/// The files and descriptors of a process.
pub struct Fs {
    inodes: Inodes,
    descriptions: Descriptions,
    table: Vec<Option<Slot>>,
    /// The working directory, held.
    cwd: Ino,
    umask: u32,
    /// Descriptors that the program may have (`RLIMIT_NOFILE`), at most [`limits::MAX_DESCRIPTORS`].
    descriptor_limit: usize,
    pid: u32,
    generation: u64,
    /// When the next timer expires, on the monotonic clock.
    deadline: Option<u64>,
    /// How often standard input became readable.
    input_edges: u64,
    /// Whether the program has not read it since.
    input_told: bool,
    pace: Pace,
    net: Net,
    world: Box<dyn World>,
}

impl Fs {
    /// A file system with the bundle's files, the usual directories and devices, and descriptors 0, 1 and 2. An error is
    /// that the bundle does not fit: a path that is also another's directory (`ENOTDIR`, `EEXIST`), names too long,
    /// too little memory.
    pub fn new(setup: &Setup<'_>, world: Box<dyn World>) -> Result<Self, SetupError> {
        let mut fs = Self {
            inodes: Inodes::new(setup.memory),
            descriptions: Descriptions::default(),
            table: Vec::new(),
            cwd: Ino::ROOT,
            umask: 0o022,
            descriptor_limit: limits::DESCRIPTORS,
            pid: setup.pid,
            generation: 0,
            deadline: None,
            input_edges: 0,
            input_told: false,
            pace: Pace::default(),
            net: Net::default(),
            world,
        };
        fs.populate(setup)?;
        fs.inodes.hold(fs.cwd)?;
        Ok(fs)
    }

    /// Looks whether timers have expired at `monotonic_ns`: [`Fs::generation`] moves then.
    pub fn tick(&mut self, monotonic_ns: u64) {
        if self.deadline.is_some_and(|deadline| deadline <= monotonic_ns) {
            self.find_deadline();
            self.touch();
        }
    }

    /// umask(2).
    pub const fn umask(&mut self, mask: u32) -> u32 {
        core::mem::replace(&mut self.umask, mask & 0o777)
    }

    /// Sets how many descriptors the program may have from now on (`RLIMIT_NOFILE`); those that it has stay.
    pub fn set_descriptor_limit(&mut self, limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.descriptor_limit = limit.min(limits::MAX_DESCRIPTORS);
    }

    /// Bytes that the writable layer holds.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.inodes.budget.held()
    }

    /// How often a call was refused since the writable layer would have held too much, and how many bytes it may hold.
    #[must_use]
    pub const fn refused(&self) -> (u64, usize) {
        (self.inodes.budget.refused, self.inodes.budget.limit())
    }
}

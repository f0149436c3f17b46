//! fcntl(2), ioctl(2), flock(2): what is asked of a descriptor itself.
use super::{Fs, inode::Kind, limits::PIPE_CAPACITY};
use crate::errno::Errno;
use linux_raw_sys::{general as abi, ioctl};

/// The status flags that `F_SETFL` changes.
const SETTABLE: u32 = abi::O_APPEND | abi::O_NONBLOCK | abi::O_DIRECT | abi::O_NOATIME | abi::FASYNC;

/// Commands that have nothing to do: locks, which only this process could hold, and who gets signals.
const IGNORED: &[u32] = &[
    abi::F_GETLK,
    abi::F_SETLK,
    abi::F_SETLKW,
    abi::F_OFD_GETLK,
    abi::F_OFD_SETLK,
    abi::F_OFD_SETLKW,
    abi::F_SETOWN,
    abi::F_GETOWN,
    abi::F_SETSIG,
    abi::F_GETSIG,
];

impl Fs {
    /// fcntl(2). Locks are always granted, there being one process: for `F_GETLK` the caller says `F_UNLCK`.
    pub fn fcntl(&mut self, fd: i32, command: u32, argument: u64) -> Result<i32, Errno> {
        let slot = self.slot(fd)?;
        match command {
            abi::F_DUPFD | abi::F_DUPFD_CLOEXEC => {
                let limit = self.descriptor_limit;
                let from = usize::try_from(argument).ok().filter(|from| *from < limit).ok_or(Errno::EINVAL)?;
                self.duplicate(fd, from, command == abi::F_DUPFD_CLOEXEC)
            }
            abi::F_GETFD => Ok(i32::from(slot.close_on_exec)),
            abi::F_SETFD => {
                let close_on_exec = argument & u64::from(abi::FD_CLOEXEC) != 0;
                self.set_close_on_exec(fd, close_on_exec).map(|()| 0)
            }
            abi::F_GETFL => Ok(self.any_description(fd)?.flags.cast_signed()),
            _ => self.control(fd, command, argument),
        }
    }

    /// The commands that a descriptor opened for its path only does not have.
    fn control(&mut self, fd: i32, command: u32, argument: u64) -> Result<i32, Errno> {
        let ino = self.description(fd)?.ino;
        let kind = &self.inodes.get(ino)?.kind;
        if IGNORED.contains(&command) {
            return Ok(0);
        }
        match (command, kind) {
            (abi::F_SETFL, _) => {
                let open = self.description_mut(fd)?;
                open.flags = open.flags & !SETTABLE | argument as u32 & SETTABLE;
                Ok(0)
            }
            (abi::F_GETPIPE_SZ, Kind::Pipe(_) | Kind::Standard(_)) => Ok(PIPE_CAPACITY as i32),
            (abi::F_SETPIPE_SZ, Kind::Pipe(_) | Kind::Standard(_)) if argument <= PIPE_CAPACITY as u64 => {
                Ok(PIPE_CAPACITY as i32)
            }
            (abi::F_SETPIPE_SZ, Kind::Pipe(_) | Kind::Standard(_)) => Err(Errno::EPERM),
            (abi::F_GETPIPE_SZ | abi::F_SETPIPE_SZ, _) => Err(Errno::EBADF),
            _ => Err(Errno::EINVAL),
        }
    }

    /// ioctl(2) with an `int` as its argument, in or out: what is told, if something is. Nothing is a terminal.
    pub fn ioctl(&mut self, fd: i32, request: u32, argument: i32) -> Result<Option<i32>, Errno> {
        let open = self.description(fd)?;
        match request {
            ioctl::FIOCLEX | ioctl::FIONCLEX => {
                self.set_close_on_exec(fd, request == ioctl::FIOCLEX)?;
                Ok(None)
            }
            ioctl::FIONBIO => {
                let flag = if argument == 0 { 0 } else { abi::O_NONBLOCK };
                let open = self.description_mut(fd)?;
                open.flags = open.flags & !abi::O_NONBLOCK | flag;
                Ok(None)
            }
            ioctl::FIONREAD => {
                let left = match &self.inodes.get(open.ino)?.kind {
                    Kind::File(content) => content.len().saturating_sub(open.offset),
                    Kind::Pipe(pipe) => pipe.len() as u64,
                    Kind::Standard(0) => self.world.readable().into(),
                    Kind::Socket(socket) => self.net.to_receive(*socket)? as u64,
                    _ => return Err(Errno::ENOTTY),
                };
                Ok(Some(i32::try_from(left).unwrap_or(i32::MAX)))
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    /// flock(2): always granted.
    pub fn flock(&self, fd: i32, operation: u32) -> Result<(), Errno> {
        self.description(fd)?;
        match operation & !abi::LOCK_NB {
            abi::LOCK_SH | abi::LOCK_EX | abi::LOCK_UN => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}

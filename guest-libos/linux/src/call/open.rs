//! Descriptors: open(2), dup(2), fcntl(2), ioctl(2), and those that are made without a name.

use super::{Answer, Machine, Process, buffers};
use crate::errno::Errno;
use linux_raw_sys::{general as abi, ioctl};

/// Bytes of the first version of `struct open_how`, and of the largest that is looked at.
const OPEN_HOW_BYTES: u64 = 24;
const OPEN_HOW_MOST: u64 = 4096;
/// What `open_how` may say of how a path is walked that changes nothing here: there are no mounts, and the links of /proc
/// lead where they say.
const RESOLVE: u64 = abi::RESOLVE_NO_XDEV as u64 | abi::RESOLVE_NO_MAGICLINKS as u64;

impl<M: Machine> Process<M> {
    pub(super) fn openat(&mut self, directory: u64, path: u64, flags: u64, mode: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        let descriptor = self.files.openat(directory as i32, path, flags as u32, mode as u32)?;
        Ok(descriptor as u64)
    }

    pub(super) fn openat2(&mut self, directory: u64, path: u64, how: u64, bytes: u64) -> Answer {
        if bytes < OPEN_HOW_BYTES {
            return Err(Errno::EINVAL.into());
        }
        if bytes > OPEN_HOW_MOST || self.input(how, bytes)?[OPEN_HOW_BYTES as usize..].iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG.into());
        }
        let [flags, mode, resolve] = self.get(how)?;
        let makes = flags & u64::from(abi::O_CREAT) != 0;
        if flags >> 32 != 0 || mode & !0o7777 != 0 || mode != 0 && !makes {
            return Err(Errno::EINVAL.into());
        }
        match resolve {
            0 => {}
            // Who asks to stay below a directory wants a promise that is not made here.
            _ if resolve & !RESOLVE == 0 => {}
            _ => return Err(Errno::ENOSYS.into()),
        }
        self.openat(directory, path, flags, mode)
    }

    /// Files can be made so, and nothing else: no named pipes, no devices.
    pub(super) fn mknodat(&mut self, directory: u64, path: u64, mode: u64) -> Answer {
        let flags = abi::O_CREAT | abi::O_EXCL;
        match mode as u32 & abi::S_IFMT {
            0 | abi::S_IFREG => {
                let descriptor = self.openat(directory, path, flags.into(), mode)?;
                self.files.close(descriptor as i32)?;
                Ok(0)
            }
            abi::S_IFIFO | abi::S_IFCHR | abi::S_IFBLK | abi::S_IFSOCK => Err(Errno::EPERM.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    pub(super) fn fcntl(&mut self, descriptor: u64, command: u64, argument: u64) -> Answer {
        let answer = self.files.fcntl(descriptor as i32, command as u32, argument)?;
        if matches!(command as u32, abi::F_GETLK | abi::F_OFD_GETLK) {
            // No one holds a lock: `l_type` says so.
            self.output(argument, 2)?.copy_from_slice(&(abi::F_UNLCK as u16).to_le_bytes());
        }
        Ok(answer as u64)
    }

    pub(super) fn ioctl(&mut self, descriptor: u64, request: u64, address: u64) -> Answer {
        let request = request as u32;
        let argument = match request {
            ioctl::FIONBIO => i32::from_le_bytes(self.array(address)?),
            _ => 0,
        };
        if let Some(told) = self.files.ioctl(descriptor as i32, request, argument)? {
            self.output(address, 4)?.copy_from_slice(&told.to_le_bytes());
        }
        Ok(0)
    }

    pub(super) fn getdents64(&mut self, descriptor: u64, address: u64, bytes: u64) -> Answer {
        let buffer = buffers::output(&mut self.space, address, u64::from(bytes as u32))?;
        Ok(self.files.getdents64(descriptor as i32, buffer)? as u64)
    }

    pub(super) fn pipe2(&mut self, address: u64, flags: u64) -> Answer {
        self.output(address, 8)?;
        let [read, write] = self.files.pipe2(flags as u32)?;
        self.put(address, &[u64::from(read as u32) | u64::from(write as u32) << 32])
    }

    pub(super) fn eventfd2(&mut self, value: u64, flags: u64) -> Answer {
        Ok(self.files.eventfd2(value as u32, flags as u32)? as u64)
    }

    pub(super) fn memfd_create(&mut self, name: u64, flags: u64) -> Answer {
        let name = buffers::text(&self.space, name)?;
        Ok(self.files.memfd_create(name, flags as u32)? as u64)
    }

    /// Advice about the use of a file, which all lies in memory.
    pub(super) fn advised(&mut self, descriptor: u64) -> Answer {
        self.files.readiness(descriptor as i32)?;
        Ok(0)
    }
}

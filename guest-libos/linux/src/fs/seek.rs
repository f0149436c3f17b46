//! lseek(2).
use super::{Fs, inode::Kind};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

impl Fs {
    /// lseek(2): the new offset.
    pub fn lseek(&mut self, fd: i32, offset: i64, whence: u32) -> Result<u64, Errno> {
        let open = self.description(fd)?;
        if !self.seekable(fd)? {
            return Err(Errno::ESPIPE);
        }
        let current = open.offset.cast_signed();
        let wanted = match &self.inodes.get(open.ino)?.kind {
            Kind::File(content) => {
                let len = content.len().cast_signed();
                // Data and holes are within the file only.
                let inside = u64::try_from(offset).ok().filter(|_| offset < len);
                match whence {
                    abi::SEEK_END => len.checked_add(offset),
                    abi::SEEK_DATA => {
                        Some(inside.and_then(|at| content.data_from(at)).ok_or(Errno::ENXIO)?.cast_signed())
                    }
                    abi::SEEK_HOLE => Some(content.hole_from(inside.ok_or(Errno::ENXIO)?).cast_signed()),
                    _ => simple(current, offset, whence)?,
                }
            }
            // These ignore where they are.
            Kind::Device(_) => Some(0),
            _ => simple(current, offset, whence)?,
        };
        let new = wanted.and_then(|new| u64::try_from(new).ok()).ok_or(Errno::EINVAL)?;
        self.description_mut(fd)?.offset = new;
        Ok(new)
    }
}

fn simple(current: i64, offset: i64, whence: u32) -> Result<Option<i64>, Errno> {
    match whence {
        abi::SEEK_SET => Ok(Some(offset)),
        abi::SEEK_CUR => Ok(current.checked_add(offset)),
        _ => Err(Errno::EINVAL),
    }
}

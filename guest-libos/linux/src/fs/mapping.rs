//! What mmap(2) shows of a file.
use super::{Fs, inode::Device, inode::Kind};
use crate::errno::Errno;
use alloc::vec::Vec;

impl Fs {
    /// The bytes of a regular file from `offset` on, at most `count`, in pieces; `None` for /dev/zero, which is memory like
    /// any other. `EACCES` where it is not open for reading, or not for writing as well where `shared` says so; `ENODEV`
    /// for what cannot be mapped.
    pub fn mapping(&self, fd: i32, offset: u64, count: usize, shared: bool) -> Result<Option<Vec<&[u8]>>, Errno> {
        let open = self.description(fd)?;
        if !open.readable() || shared && !open.writable() {
            return Err(Errno::EACCES);
        }
        match &self.inodes.get(open.ino)?.kind {
            Kind::File(content) => Ok(Some(content.pieces(offset, count).collect())),
            Kind::Device(Device::Zero) => Ok(None),
            _ => Err(Errno::ENODEV),
        }
    }

    /// The whole of a file that is as the bundle has it.
    #[must_use]
    pub fn packed(&self, fd: i32) -> Option<&'static [u8]> {
        match &self.inodes.get(self.description(fd).ok()?.ino).ok()?.kind {
            Kind::File(content) => content.packed(),
            _ => None,
        }
    }
}

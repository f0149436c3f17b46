//! getdents64(2).
use super::{
    Fs,
    directory::FIRST_COOKIE,
    inode::{Ino, Kind},
    status::directory_type,
};
use crate::errno::Errno;

/// Bytes of `struct linux_dirent64` before the name.
const HEADER: usize = 19;

/// Records in a buffer, and where the next call goes on.
struct Records<'a> {
    buffer: &'a mut [u8],
    used: usize,
    next: u64,
}

impl Records<'_> {
    /// Adds a record; whether there was room.
    fn push(&mut self, ino: u64, next: u64, kind: u8, name: &[u8]) -> bool {
        let length = (HEADER + name.len() + 1).next_multiple_of(8);
        let Some(record) = self.buffer.get_mut(self.used..self.used + length) else { return false };
        record.fill(0);
        record[..8].copy_from_slice(&ino.to_ne_bytes());
        record[8..16].copy_from_slice(&next.to_ne_bytes());
        record[16..18].copy_from_slice(&(length as u16).to_ne_bytes());
        record[18] = kind;
        record[HEADER..HEADER + name.len()].copy_from_slice(name);
        self.used += length;
        self.next = next;
        true
    }
}

impl Fs {
    /// getdents64(2): the bytes of `buffer` that were filled, 0 at the end.
    pub fn getdents64(&mut self, fd: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
        let open = self.description(fd)?;
        let (ino, offset) = (open.ino, open.offset);
        let inode = self.inodes.get(ino)?;
        inode.directory()?;
        if inode.links == 0 {
            return Err(Errno::ENOENT);
        }
        let mut records = Records { buffer, used: 0, next: offset };
        let complete = self.list(ino, offset, &mut records)?;
        let (used, next) = (records.used, records.next);
        if used == 0 && !complete {
            return Err(Errno::EINVAL);
        }
        self.description_mut(fd)?.offset = next;
        let now = self.world.now();
        self.inodes.get_mut(ino)?.accessed(now);
        Ok(used)
    }

    /// Fills records with the entries from `offset` on; whether all had room.
    fn list(&self, ino: Ino, offset: u64, records: &mut Records<'_>) -> Result<bool, Errno> {
        let inode = self.inodes.get(ino)?;
        let directory = inode.directory()?;
        let of = |ino: Ino| self.inodes.get(ino).map(|inode| (u64::from(ino.0), directory_type(inode)));
        for (at, name, ino) in [(0, &b"."[..], ino), (1, b"..", directory.parent)] {
            let (number, kind) = of(ino)?;
            if offset <= at && !records.push(number, at + 1, kind, name) {
                return Ok(false);
            }
        }
        if let Kind::Descriptors(_) = inode.kind {
            return Ok(self.list_descriptors(offset, records));
        }
        for (cookie, name, ino) in directory.from(offset) {
            let (number, kind) = of(ino)?;
            if !records.push(number, cookie + 1, kind, name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn list_descriptors(&self, offset: u64, records: &mut Records<'_>) -> bool {
        let from = usize::try_from(offset.saturating_sub(FIRST_COOKIE)).unwrap_or(usize::MAX);
        self.descriptors_from(from).all(|fd| {
            let number = fd.cast_unsigned();
            let (ino, next) = (super::status::descriptor_ino(fd), FIRST_COOKIE + u64::from(number) + 1);
            records.push(ino, next, linux_raw_sys::general::DT_LNK as u8, alloc::format!("{number}").as_bytes())
        })
    }
}

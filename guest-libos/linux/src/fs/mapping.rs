//! What mmap(2) shows of a file.
use super::{
    Fs,
    content::ZEROS,
    inode::{Device, Ino, Kind},
};
use crate::errno::Errno;
use alloc::vec::Vec;

/// A file that is mapped: held until [`Fs::unmapped`].
#[derive(Debug, PartialEq, Eq)]
pub struct Mapped(Ino);

impl Fs {
    /// Whether a shared mapping of a descriptor may be written, now or later.
    #[must_use]
    pub fn maps_for_writing(&self, fd: i32) -> bool {
        self.description(fd).is_ok_and(|open| open.readable() && open.writable())
    }

    /// Holds the file of a descriptor, since it is mapped.
    pub fn mapped(&mut self, fd: i32) -> Result<Mapped, Errno> {
        let ino = self.description(fd)?.ino;
        self.mapped_again(&Mapped(ino))
    }

    /// Holds it once more.
    pub fn mapped_again(&mut self, file: &Mapped) -> Result<Mapped, Errno> {
        self.inodes.hold(file.0)?;
        Ok(Mapped(file.0))
    }

    /// Lets go of a file that is not mapped any more.
    pub fn unmapped(&mut self, Mapped(ino): Mapped) {
        self.inodes.release(ino);
    }

    /// Whether a descriptor is of that file.
    #[must_use]
    pub fn is_mapped(&self, fd: i32, file: &Mapped) -> bool {
        self.any_description(fd).is_ok_and(|open| open.ino == file.0)
    }

    /// What a mapping of `count` bytes from `offset` on shows: the file, and zeros behind its end, in pieces.
    #[must_use]
    pub fn shown(&self, file: &Mapped, offset: u64, count: u64) -> Vec<&[u8]> {
        let Ok(Kind::File(content)) = self.inodes.get(file.0).map(|inode| &inode.kind) else { return Vec::new() };
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let mut pieces: Vec<_> = content.pieces(offset, wanted).collect();
        let mut rest = wanted - pieces.iter().map(|piece| piece.len()).sum::<usize>();
        while rest > 0 {
            let zeros = &ZEROS[..rest.min(ZEROS.len())];
            pieces.push(zeros);
            rest -= zeros.len();
        }
        pieces
    }

    /// Makes sure that what a mapping stores in these bytes can be brought back: memory for all of them that are before the
    /// file's end. `ENOMEM` if there is too little. What is no regular file has nothing to be brought back to.
    pub fn reserve(&mut self, fd: i32, offset: u64, count: u64) -> Result<(), Errno> {
        let ino = self.description(fd)?.ino;
        let Ok((content, budget)) = self.inodes.content(ino) else { return Ok(()) };
        let end = offset.saturating_add(count).min(content.len());
        let mut bytes = [0; ZEROS.len()];
        for at in (offset..end).step_by(ZEROS.len()) {
            let read = content.read(at, &mut bytes[..(end - at).min(ZEROS.len() as u64) as usize]);
            if content.write(at, &bytes[..read], budget).ok() != Some(read) {
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    /// Writes what a mapping stored in at most a page at `offset`, where that differs and is before the file's end. What a
    /// hole made since then has no memory for is lost.
    pub fn bring_back(&mut self, file: &Mapped, offset: u64, bytes: &[u8]) {
        let Ok((content, _)) = self.inodes.content(file.0) else { return };
        let mut was = [0; ZEROS.len()];
        let room = bytes.len().min(was.len());
        let count = content.read(offset, &mut was[..room]);
        if was[..count] != bytes[..count] {
            let _ = self.write_file(file.0, &bytes[..count], offset);
        }
    }

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

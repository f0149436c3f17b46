//! The host's file system, in a temporary directory.
use super::model::{DIRECTORY, Gave, Model, Op, Outcome, TYPE, Target, count_of, parts, pattern, read};
use crate::errno::Errno;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self as host, AtFlags, Mode, OFlags, RawDir, SeekFrom},
    io::Errno as HostErrno,
};
use std::{io::IoSlice, mem::MaybeUninit};
use tempfile::TempDir;

/// A temporary directory of the host.
pub(super) struct Host {
    _top: TempDir,
    base: OwnedFd,
    slots: Vec<Option<OwnedFd>>,
    pub(super) directories_count_links: bool,
    inode: u64,
}

/// A slot of a descriptor that may be empty.
fn taken(slots: &[Option<OwnedFd>], slot: usize) -> Result<BorrowedFd<'_>, HostErrno> {
    slots[slot].as_ref().map(AsFd::as_fd).ok_or(HostErrno::BADF)
}

impl Host {
    pub(super) fn new(depth: usize) -> Self {
        let shared = std::path::Path::new("/dev/shm");
        let top = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
        let path = top.path().join("z/".repeat(depth));
        std::fs::create_dir_all(&path).unwrap();
        let mode = Mode::from_raw_mode(0o700);
        for directory in path.ancestors().take(depth + 1) {
            host::chmod(directory, mode).unwrap();
        }
        let base = host::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let directories_count_links = host::fstatfs(&base).unwrap().f_type == 0x0102_1994;
        Self { _top: top, base, slots: (0..8).map(|_| None).collect(), directories_count_links, inode: 0 }
    }

    fn at(&self, target: &Target) -> Result<BorrowedFd<'_>, HostErrno> {
        // An empty path is that, whatever it starts from.
        match target.at {
            Some(slot) if self.slots[slot].is_none() => Ok(self.base.as_fd()),
            Some(slot) => taken(&self.slots, slot),
            None => Ok(self.base.as_fd()),
        }
    }

    fn status(&mut self, stat: &host::Stat) -> Gave {
        self.inode = stat.st_ino;
        let directory = stat.st_mode & TYPE == DIRECTORY;
        let links = if directory && !self.directories_count_links { 0 } else { stat.st_nlink };
        Gave::Status(stat.st_mode, links, if directory { 0 } else { stat.st_size.cast_unsigned() }, 0)
    }

    fn on_name(&mut self, operation: &Op) -> Result<Gave, HostErrno> {
        match operation {
            Op::Mkdir(to) => host::mkdirat(self.at(to)?, &to.path[..], Mode::from_raw_mode(0o700))?,
            Op::Rmdir(at) => host::unlinkat(self.at(at)?, &at.path[..], AtFlags::REMOVEDIR)?,
            Op::Unlink(at) => host::unlinkat(self.at(at)?, &at.path[..], AtFlags::empty())?,
            Op::Rename(from, to, flags) => {
                host::renameat_with(self.at(from)?, &from.path[..], self.at(to)?, &to.path[..], *flags)?;
            }
            Op::Link(from, to, flags) => {
                host::linkat(self.at(from)?, &from.path[..], self.at(to)?, &to.path[..], *flags)?;
            }
            Op::Symlink(text, at) => host::symlinkat(&text[..], self.at(at)?, &at.path[..])?,
            Op::Chmod(at, mode) => {
                host::chmodat(self.at(at)?, &at.path[..], Mode::from_raw_mode(*mode), AtFlags::empty())?;
            }
            Op::Access(at, mode) => {
                let mode = host::Access::from_bits_retain(*mode);
                host::accessat(self.at(at)?, &at.path[..], mode, AtFlags::empty())?;
            }
            Op::Stat(at, flags) => {
                let stat = host::statat(self.at(at)?, &at.path[..], *flags)?;
                return Ok(self.status(&stat));
            }
            Op::Readlink(at) => {
                return Ok(Gave::Bytes(host::readlinkat(self.at(at)?, &at.path[..], Vec::new())?.into_bytes()));
            }
            Op::List(path) => return self.list(path),
            other => return self.on_descriptor(other),
        }
        Ok(Gave::Nothing)
    }

    fn list(&self, path: &[u8]) -> Result<Gave, HostErrno> {
        let fd = host::openat(&self.base, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(fd, &mut space);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let kind = host::FileType::as_raw_mode(entry.file_type()) >> 12;
            names.push((entry.file_name().to_bytes().to_vec(), kind as u8));
        }
        names.sort();
        Ok(Gave::Names(names))
    }

    fn on_descriptor(&mut self, operation: &Op) -> Result<Gave, HostErrno> {
        let slots = &self.slots;
        Ok(match operation {
            Op::Open(slot, path, flags) => {
                let opened = host::openat(&self.base, &path[..], *flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
                self.slots[*slot] = None;
                self.slots[*slot] = Some(opened?);
                Gave::Nothing
            }
            Op::Close(slot) => self.slots[*slot].take().map(|_| Gave::Nothing).ok_or(HostErrno::BADF)?,
            Op::Dup(from, to) => {
                let new = rustix::io::fcntl_dupfd_cloexec(taken(slots, *from)?, 0)?;
                self.slots[*to] = Some(new);
                Gave::Nothing
            }
            Op::Read(slot, count) => read(*count, |buffer| rustix::io::read(taken(slots, *slot)?, buffer))?,
            Op::Pread(slot, count, offset) => {
                let offset = offset.cast_unsigned();
                read(*count, |buffer| rustix::io::pread(taken(slots, *slot)?, buffer, offset))?
            }
            Op::Write(slot, count, byte) => count_of(rustix::io::write(taken(slots, *slot)?, &pattern(*count, *byte))?),
            Op::Pwrite(slot, count, byte, offset) => {
                let bytes = pattern(*count, *byte);
                count_of(rustix::io::pwrite(taken(slots, *slot)?, &bytes, offset.cast_unsigned())?)
            }
            Op::Writev(slot, counts, byte) => {
                let parts = parts(counts, *byte);
                let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
                count_of(rustix::io::writev(taken(slots, *slot)?, &slices)?)
            }
            Op::Readv(slot, counts) => {
                let mut parts = parts(counts, 0);
                let mut slices: Vec<_> = parts.iter_mut().map(|part| std::io::IoSliceMut::new(part)).collect();
                let count = rustix::io::readv(taken(slots, *slot)?, &mut slices)?;
                Gave::Bytes(parts.concat()[..count].to_vec())
            }
            Op::Seek(slot, offset, whence) => {
                let to = match whence {
                    0 => SeekFrom::Start(offset.cast_unsigned()),
                    1 => SeekFrom::Current(*offset),
                    _ => SeekFrom::End(*offset),
                };
                Gave::Number(host::seek(taken(slots, *slot)?, to)?)
            }
            other => return self.on_file(other),
        })
    }

    fn on_file(&mut self, operation: &Op) -> Result<Gave, HostErrno> {
        let slots = &self.slots;
        match operation {
            Op::Ftruncate(slot, len) => host::ftruncate(taken(slots, *slot)?, len.cast_unsigned())?,
            Op::Fallocate(slot, flags, at, len) => {
                host::fallocate(taken(slots, *slot)?, *flags, at.cast_unsigned(), len.cast_unsigned())?;
            }
            Op::Sendfile(from, to, count) => {
                return host::sendfile(taken(slots, *to)?, taken(slots, *from)?, None, *count).map(count_of);
            }
            Op::CopyRange(from, to, start, end, count) => {
                let (mut start, mut end) = (*start, *end);
                let (from, to) = (taken(slots, *from)?, taken(slots, *to)?);
                let count = host::copy_file_range(from, start.as_mut(), to, end.as_mut(), *count)?;
                return Ok(Gave::Offsets(count, start, end));
            }
            Op::Fstat(slot) => {
                let stat = host::fstat(taken(slots, *slot)?)?;
                return Ok(self.status(&stat));
            }
            Op::Status(slot, append) => {
                let fd = taken(slots, *slot)?;
                host::fcntl_setfl(fd, if *append { OFlags::APPEND } else { OFlags::empty() })?;
                return Ok(Gave::Number(host::fcntl_getfl(fd)?.bits().into()));
            }
            other => unreachable!("{other:?}"),
        }
        Ok(Gave::Nothing)
    }
}

impl Model for Host {
    fn run(&mut self, operation: &Op) -> Outcome {
        self.on_name(operation).map_err(|error| Errno(error.raw_os_error()))
    }

    fn last_inode(&self) -> u64 {
        self.inode
    }
}

//! Operations that both file systems do, in the same terms.
use crate::{
    errno::Errno,
    fs::{Copied, Fs, Metadata, Stop, Touch},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self as host, AtFlags, FallocateFlags, Mode, OFlags, RawDir, RenameFlags, SeekFrom},
    io::Errno as HostErrno,
};
use std::{collections::BTreeMap, io::IoSlice, mem::MaybeUninit};
use tempfile::TempDir;

/// A path, from the base or from a descriptor.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) at: Option<usize>,
    pub(super) path: Vec<u8>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}:{:?}", self.at, self.path.escape_ascii().to_string())
    }
}

/// An operation; numbers are slots of descriptors.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Mkdir(Target),
    Rmdir(Target),
    Unlink(Target),
    Rename(Target, Target, RenameFlags),
    Link(Target, Target, AtFlags),
    Symlink(Vec<u8>, Target),
    Stat(Target, AtFlags),
    Readlink(Target),
    Chmod(Target, u32),
    Access(Target, u32),
    List(Vec<u8>),
    Open(usize, Vec<u8>, OFlags),
    Close(usize),
    Dup(usize, usize),
    Read(usize, usize),
    Write(usize, usize, u8),
    Pread(usize, usize, i64),
    Pwrite(usize, usize, u8, i64),
    Writev(usize, Vec<usize>, u8),
    Readv(usize, Vec<usize>),
    Seek(usize, i64, u8),
    Ftruncate(usize, i64),
    Fallocate(usize, FallocateFlags, i64, i64),
    Sendfile(usize, usize, usize),
    CopyRange(usize, usize, Option<u64>, Option<u64>, usize),
    Fstat(usize),
    Status(usize, bool),
}

impl Op {
    /// The slots that must be open for it.
    fn slots(&self) -> Vec<usize> {
        match self {
            Self::Close(slot) | Self::Dup(slot, _) | Self::Read(slot, _) | Self::Write(slot, ..) => vec![*slot],
            Self::Pread(slot, ..) | Self::Pwrite(slot, ..) | Self::Writev(slot, ..) | Self::Readv(slot, _) => {
                vec![*slot]
            }
            Self::Seek(slot, ..) | Self::Ftruncate(slot, _) | Self::Fallocate(slot, ..) => vec![*slot],
            Self::Fstat(slot) | Self::Status(slot, _) => vec![*slot],
            Self::Sendfile(from, to, _) | Self::CopyRange(from, to, ..) => vec![*from, *to],
            _ => Vec::new(),
        }
    }
}

/// What an operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gave {
    Nothing,
    Number(u64),
    Bytes(Vec<u8>),
    Offsets(usize, Option<u64>, Option<u64>),
    Names(Vec<(Vec<u8>, u8)>),
    /// Mode, links, size and owner; directories have no size that means something.
    Status(u32, u64, u64, u32),
}

pub(super) type Outcome = Result<Gave, Errno>;

/// A file system to compare.
pub(super) trait Model {
    fn run(&mut self, operation: &Op) -> Outcome;

    /// Which inode the last [`Op::Stat`] was of.
    fn last_inode(&self) -> u64;
}

/// One line of a tree: path, status, what is in it, and the first path of the same inode.
pub(super) type Entry = (Vec<u8>, Outcome, Outcome, Vec<u8>);

const DIRECTORY: u32 = 0o40_000;
const LINK: u32 = 0o120_000;
const TYPE: u32 = 0o170_000;

/// Everything below the directory that the base is deep inside of.
pub(super) fn tree(model: &mut impl Model) -> Vec<Entry> {
    let mut lines = Vec::new();
    let mut inodes = BTreeMap::new();
    let top = "../".repeat(super::differential::DEPTH).into_bytes();
    let mut open = vec![top];
    while let Some(path) = open.pop() {
        let status = model.run(&Op::Stat(Target { at: None, path: path.clone() }, AtFlags::SYMLINK_NOFOLLOW));
        let first = inodes.entry(model.last_inode()).or_insert_with(|| path.clone()).clone();
        let mode = if let Ok(Gave::Status(mode, ..)) = &status { *mode & TYPE } else { 0 };
        let inside = match mode {
            DIRECTORY => model.run(&Op::List(path.clone())),
            LINK => model.run(&Op::Readlink(Target { at: None, path: path.clone() })),
            _ => {
                let opened = model.run(&Op::Open(0, path.clone(), OFlags::RDONLY));
                opened.and_then(|_| model.run(&Op::Read(0, 1 << 20)))
            }
        };
        if let Ok(Gave::Names(names)) = &inside {
            let below = names.iter().filter(|(name, _)| name != b"." && name != b"..");
            open.extend(
                below.map(|(name, _)| [&path[..], if path.ends_with(b"/") { b"" } else { b"/" }, name].concat()),
            );
        }
        lines.push((path, status, inside, first));
    }
    lines
}

fn pattern(count: usize, byte: u8) -> Vec<u8> {
    (0..count).map(|index| byte.wrapping_add(index as u8)).collect()
}

fn parts(counts: &[usize], byte: u8) -> Vec<Vec<u8>> {
    counts.iter().map(|count| pattern(*count, byte)).collect()
}

/// A temporary directory of the host.
pub(super) struct Host {
    _top: TempDir,
    base: OwnedFd,
    slots: Vec<Option<OwnedFd>>,
    directories_count_links: bool,
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

fn count_of(count: usize) -> Gave {
    Gave::Number(count as u64)
}

fn read<E>(count: usize, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Gave, E> {
    let mut buffer = vec![0x55; count];
    let count = read(&mut buffer)?;
    buffer.truncate(count);
    Ok(Gave::Bytes(buffer))
}

impl Model for Host {
    fn run(&mut self, operation: &Op) -> Outcome {
        self.on_name(operation).map_err(|error| Errno(error.raw_os_error()))
    }

    fn last_inode(&self) -> u64 {
        self.inode
    }
}

/// The file system under test.
pub(super) struct Ours {
    fs: Fs,
    base: i32,
    slots: Vec<i32>,
    directories_count_links: bool,
    held: usize,
    inode: u64,
}

/// What a transfer that cannot wait gave.
fn done<T>(result: Result<T, Stop>) -> Result<T, Errno> {
    result.map_err(|stop| match stop {
        Stop::Error(error) => error,
        other => panic!("{other:?}"),
    })
}

impl Ours {
    pub(super) fn new(depth: usize) -> Self {
        let (mut fs, _) = super::new();
        fs.umask(0);
        let held = fs.held();
        let mut path = b"/tmp/top".to_vec();
        fs.mkdirat(-100, &path, 0o700).unwrap();
        for _ in 0..depth {
            path.extend_from_slice(b"/z");
            fs.mkdirat(-100, &path, 0o700).unwrap();
        }
        let base = fs.openat(-100, &path, OFlags::DIRECTORY.bits(), 0).unwrap();
        let directories_count_links = Host::new(0).directories_count_links;
        Self { fs, base, slots: vec![-1; 8], directories_count_links, held, inode: 0 }
    }

    fn at(&self, target: &Target) -> i32 {
        match target.at {
            Some(slot) if self.slots[slot] >= 0 => self.slots[slot],
            _ => self.base,
        }
    }

    fn status(&mut self, status: &Metadata) -> Gave {
        self.inode = status.ino;
        let directory = status.mode & TYPE == DIRECTORY;
        let links = if directory && !self.directories_count_links { 0 } else { status.nlink.into() };
        Gave::Status(status.mode, links, if directory { 0 } else { status.size }, 0)
    }

    fn on_name(&mut self, operation: &Op) -> Outcome {
        match operation {
            Op::Mkdir(to) => self.fs.mkdirat(self.at(to), &to.path, 0o700)?,
            Op::Rmdir(at) => self.fs.unlinkat(self.at(at), &at.path, AtFlags::REMOVEDIR.bits())?,
            Op::Unlink(at) => self.fs.unlinkat(self.at(at), &at.path, 0)?,
            Op::Rename(from, to, flags) => {
                self.fs.renameat2(self.at(from), &from.path, self.at(to), &to.path, flags.bits())?;
            }
            Op::Link(from, to, flags) => {
                self.fs.linkat(self.at(from), &from.path, self.at(to), &to.path, flags.bits())?;
            }
            Op::Symlink(text, at) => self.fs.symlinkat(text, self.at(at), &at.path)?,
            Op::Chmod(at, mode) => self.fs.fchmodat(self.at(at), &at.path, *mode, 0)?,
            Op::Access(at, mode) => self.fs.faccessat(self.at(at), &at.path, *mode, 0)?,
            Op::Stat(at, flags) => {
                let status = self.fs.fstatat(self.at(at), &at.path, flags.bits())?;
                return Ok(self.status(&status));
            }
            Op::Readlink(at) => return self.fs.readlinkat(self.at(at), &at.path).map(Gave::Bytes),
            Op::List(path) => return self.list(path),
            other => return self.on_descriptor(other),
        }
        Ok(Gave::Nothing)
    }

    fn list(&mut self, path: &[u8]) -> Outcome {
        let fd = self.fs.openat(self.base, path, OFlags::DIRECTORY.bits(), 0)?;
        let mut names = Vec::new();
        // Room for one record of the longest name, and a few short ones.
        let mut buffer = [0; 280];
        let result = loop {
            match self.fs.getdents64(fd, &mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => records(&buffer[..count], &mut names),
                Err(error) => break Err(error),
            }
        };
        self.fs.close(fd)?;
        names.sort();
        result.map(|()| Gave::Names(names))
    }

    fn on_descriptor(&mut self, operation: &Op) -> Outcome {
        let (fs, slots) = (&mut self.fs, &mut self.slots);
        Ok(match operation {
            Op::Open(slot, path, flags) => {
                let opened = fs.openat(self.base, path, flags.bits(), 0o600);
                let _ = fs.close(slots[*slot]);
                slots[*slot] = -1;
                slots[*slot] = opened?;
                Gave::Nothing
            }
            Op::Close(slot) => {
                fs.close(slots[*slot])?;
                slots[*slot] = -1;
                Gave::Nothing
            }
            Op::Dup(from, to) => {
                let new = fs.dup(slots[*from])?;
                let _ = fs.close(slots[*to]);
                slots[*to] = new;
                Gave::Nothing
            }
            Op::Read(slot, count) => done(read(*count, |buffer| fs.read(slots[*slot], buffer)))?,
            Op::Pread(slot, count, offset) => done(read(*count, |buffer| fs.pread(slots[*slot], buffer, *offset)))?,
            Op::Write(slot, count, byte) => count_of(done(fs.write(slots[*slot], &pattern(*count, *byte)))?),
            Op::Pwrite(slot, count, byte, offset) => {
                count_of(done(fs.pwrite(slots[*slot], &pattern(*count, *byte), *offset))?)
            }
            Op::Writev(slot, counts, byte) => {
                let parts = parts(counts, *byte);
                let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                count_of(done(fs.writev(slots[*slot], &slices, None))?)
            }
            Op::Readv(slot, counts) => {
                let mut parts = parts(counts, 0);
                let mut slices: Vec<&mut [u8]> = parts.iter_mut().map(Vec::as_mut_slice).collect();
                let count = done(fs.readv(slots[*slot], &mut slices, None))?;
                Gave::Bytes(parts.concat()[..count].to_vec())
            }
            Op::Seek(slot, offset, whence) => Gave::Number(fs.lseek(slots[*slot], *offset, (*whence).into())?),
            other => return self.on_file(other),
        })
    }

    fn on_file(&mut self, operation: &Op) -> Outcome {
        let (fs, slots) = (&mut self.fs, &self.slots);
        match operation {
            Op::Ftruncate(slot, len) => fs.ftruncate(slots[*slot], *len)?,
            Op::Fallocate(slot, flags, at, len) => fs.fallocate(slots[*slot], flags.bits(), *at, *len)?,
            Op::Sendfile(from, to, count) => {
                return done(fs.sendfile(slots[*to], slots[*from], None, *count)).map(|copied| count_of(copied.count));
            }
            Op::CopyRange(from, to, start, end, count) => {
                let [start, end] = [*start, *end].map(|offset| offset.map(u64::cast_signed));
                let wanted = Copied { count: *count, from: start, to: end };
                let copied = done(fs.copy_file_range(wanted, slots[*from], slots[*to], 0))?;
                let [start, end] = [copied.from, copied.to].map(|offset| offset.map(i64::cast_unsigned));
                return Ok(Gave::Offsets(copied.count, start, end));
            }
            Op::Fstat(slot) => {
                let status = fs.fstat(slots[*slot])?;
                return Ok(self.status(&status));
            }
            Op::Status(slot, append) => {
                let flags = if *append { OFlags::APPEND } else { OFlags::empty() };
                fs.fcntl(slots[*slot], 4, flags.bits().into())?;
                return Ok(Gave::Number(fs.fcntl(slots[*slot], 3, 0)?.cast_unsigned().into()));
            }
            other => unreachable!("{other:?}"),
        }
        Ok(Gave::Nothing)
    }

    /// Closes and removes everything; whether no memory is held for it any more.
    pub(super) fn gives_all_back(mut self) -> bool {
        let mut lines = tree(&mut self);
        lines.sort_by_key(|(path, ..)| std::cmp::Reverse(path.len()));
        for (path, status, ..) in lines {
            let directory = matches!(status, Ok(Gave::Status(mode, ..)) if mode & TYPE == DIRECTORY);
            let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
            // By way of the base every directory above it is needed until the end.
            if !directory {
                self.fs.unlinkat(self.base, &path, 0).unwrap();
            }
        }
        self.fs.close_range(3, u32::MAX, 0).unwrap();
        self.remove_directories();
        self.fs.held() == self.held
    }

    fn remove_directories(&mut self) {
        let mut found = vec![b"/tmp/top".to_vec()];
        let mut next = 0;
        while let Some(path) = found.get(next).cloned() {
            next += 1;
            if let Ok(Gave::Names(names)) = self.list(&path) {
                let below = names.iter().filter(|(name, _)| name != b"." && name != b"..");
                found.extend(below.map(|(name, _)| [&path[..], b"/", name].concat()));
            }
        }
        for path in found.iter().rev() {
            self.fs.utimensat(-100, Some(path), [Touch::Now, Touch::Omit], 0).unwrap();
            self.fs.unlinkat(-100, path, AtFlags::REMOVEDIR.bits()).unwrap();
        }
    }
}

/// Name and type of each record of getdents64(2).
pub(super) fn records(mut bytes: &[u8], names: &mut Vec<(Vec<u8>, u8)>) {
    while !bytes.is_empty() {
        let length = usize::from(u16::from_ne_bytes([bytes[16], bytes[17]]));
        let name = bytes[19..length].split(|byte| *byte == 0).next().unwrap();
        names.push((name.to_vec(), bytes[18]));
        bytes = &bytes[length..];
    }
}

impl Model for Ours {
    fn run(&mut self, operation: &Op) -> Outcome {
        // The host is not asked about descriptors that are not open: which error is first there is for tests of a call.
        if operation.slots().iter().any(|slot| self.slots[*slot] < 0) {
            return Err(Errno::EBADF);
        }
        self.on_name(operation)
    }

    fn last_inode(&self) -> u64 {
        self.inode
    }
}

//! The file system under test, in the terms of the comparison.
use super::{
    host::Host,
    model::{DIRECTORY, Gave, Model, Op, Outcome, TYPE, Target, count_of, parts, pattern, read, records, tree},
};
use crate::{
    errno::Errno,
    fs::{Copied, Fs, Metadata, Stop, Touch},
};
use rustix::fs::{AtFlags, OFlags};

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

//! Operations that both file systems do, in the same terms.
use crate::errno::Errno;
use rustix::fs::{AtFlags, FallocateFlags, OFlags, RenameFlags};
use std::collections::BTreeMap;

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
    pub(super) fn slots(&self) -> Vec<usize> {
        match self {
            Self::Close(slot)
            | Self::Dup(slot, _)
            | Self::Read(slot, _)
            | Self::Readv(slot, _)
            | Self::Pread(slot, ..)
            | Self::Write(slot, ..)
            | Self::Writev(slot, ..)
            | Self::Pwrite(slot, ..)
            | Self::Seek(slot, ..)
            | Self::Ftruncate(slot, _)
            | Self::Fallocate(slot, ..)
            | Self::Fstat(slot)
            | Self::Status(slot, _) => vec![*slot],
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

pub(super) const DIRECTORY: u32 = 0o40_000;
const LINK: u32 = 0o120_000;
pub(super) const TYPE: u32 = 0o170_000;

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

pub(super) fn pattern(count: usize, byte: u8) -> Vec<u8> {
    (0..count).map(|index| byte.wrapping_add(index as u8)).collect()
}

pub(super) fn parts(counts: &[usize], byte: u8) -> Vec<Vec<u8>> {
    counts.iter().map(|count| pattern(*count, byte)).collect()
}

pub(super) fn count_of(count: usize) -> Gave {
    Gave::Number(count as u64)
}

pub(super) fn read<E>(count: usize, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Gave, E> {
    let mut buffer = vec![0x55; count];
    let count = read(&mut buffer)?;
    buffer.truncate(count);
    Ok(Gave::Bytes(buffer))
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

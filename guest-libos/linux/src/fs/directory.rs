//! A directory: names, each with an inode, in the order in which they were made.
//!
//! `getdents64` goes on after an offset: each entry has a number that never changes and is never used again, so a program
//! that lists a directory while it removes or adds entries sees each of the others exactly once.
use super::inode::Ino;
use alloc::{boxed::Box, collections::BTreeMap};

/// The number of the first entry: 0 is the start, 1 and 2 stand for `.` and `..`.
pub(super) const FIRST_COOKIE: u64 = 3;

#[derive(Debug, Clone, Copy)]
struct Entry {
    ino: Ino,
    cookie: u64,
}

/// The entries of a directory, and where it is itself.
#[derive(Debug)]
pub(super) struct Directory {
    /// The directory that this one is in: the root's is itself.
    pub(super) parent: Ino,
    /// Its name there.
    pub(super) name: Box<[u8]>,
    entries: BTreeMap<Box<[u8]>, Entry>,
    order: BTreeMap<u64, Box<[u8]>>,
    next: u64,
    /// How many of the entries are directories.
    pub(super) subdirectories: u32,
}

impl Directory {
    /// An empty one that is nowhere yet.
    pub(super) fn new() -> Self {
        let (entries, order) = (BTreeMap::new(), BTreeMap::new());
        Self { parent: Ino::NONE, name: Box::default(), entries, order, next: FIRST_COOKIE, subdirectories: 0 }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Ino> {
        self.entries.get(name).map(|entry| entry.ino)
    }

    /// Puts `name` in; the caller knows that it is not there.
    pub(super) fn insert(&mut self, name: &[u8], ino: Ino) {
        let cookie = self.next;
        self.next += 1;
        self.entries.insert(name.into(), Entry { ino, cookie });
        self.order.insert(cookie, name.into());
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Ino> {
        let entry = self.entries.remove(name)?;
        self.order.remove(&entry.cookie);
        Some(entry.ino)
    }

    /// Lets an existing `name` mean another inode, in its place of the order; which it meant before.
    pub(super) fn replace(&mut self, name: &[u8], ino: Ino) -> Option<Ino> {
        self.entries.get_mut(name).map(|entry| core::mem::replace(&mut entry.ino, ino))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries numbered `cookie` or later, in order.
    pub(super) fn from(&self, cookie: u64) -> impl Iterator<Item = (u64, &[u8], Ino)> {
        self.order.range(cookie..).filter_map(|(cookie, name)| Some((*cookie, &name[..], self.get(name)?)))
    }
}

//! The table of inodes: names and holds are counted here, and memory is given back when the last is gone.
use super::{
    budget::Budget,
    content::Content,
    inode::{Ino, Inode, Kind},
    limits::{ENTRY_COST, INODE_COST, MAX_INODES, MAX_LINKS, PIPE_CAPACITY},
    world::Now,
};
use crate::{errno::Errno, net::SocketId};
use alloc::vec::Vec;

/// All inodes, and the memory that the writable layer may hold.
#[derive(Debug)]
pub(super) struct Inodes {
    slots: Vec<Option<Inode>>,
    free: Vec<Ino>,
    pub(super) budget: Budget,
    pub(super) pipes: usize,
    /// Sockets that nothing leads to any more.
    pub(super) closed: Vec<SocketId>,
}

const fn entry_cost(name: &[u8]) -> usize {
    2 * name.len() + ENTRY_COST
}

impl Inodes {
    pub(super) const fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), budget: Budget::new(limit), pipes: 0, closed: Vec::new() }
    }

    /// `EIO` where there is none, which no call can reach.
    pub(super) fn get(&self, ino: Ino) -> Result<&Inode, Errno> {
        self.slots.get(ino.slot()).and_then(Option::as_ref).ok_or(Errno::EIO)
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> Result<&mut Inode, Errno> {
        self.slots.get_mut(ino.slot()).and_then(Option::as_mut).ok_or(Errno::EIO)
    }

    /// A regular file's contents together with what they are charged to.
    pub(super) fn content(&mut self, ino: Ino) -> Result<(&mut Content, &mut Budget), Errno> {
        match self.slots.get_mut(ino.slot()) {
            Some(Some(Inode { kind: Kind::File(content), .. })) => Ok((content, &mut self.budget)),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds an inode that nothing leads to yet.
    pub(super) fn add(&mut self, inode: Inode) -> Result<Ino, Errno> {
        let cost = INODE_COST + if let Kind::Symlink(target) = &inode.kind { target.len() } else { 0 };
        if self.used() >= MAX_INODES {
            return Err(Errno::ENOSPC);
        }
        self.budget.charge(cost)?;
        if let Some(ino) = self.free.pop() {
            self.slots[ino.slot()] = Some(inode);
            return Ok(ino);
        }
        self.slots.push(Some(inode));
        Ok(Ino(u32::try_from(self.slots.len()).unwrap_or(u32::MAX)))
    }

    /// Adds an inode under a name, or nothing at all.
    pub(super) fn add_named(&mut self, parent: Ino, name: &[u8], inode: Inode, now: Now) -> Result<Ino, Errno> {
        let ino = self.add(inode)?;
        if let Err(error) = self.link(parent, name, ino, now) {
            self.reap(ino);
            return Err(error);
        }
        Ok(ino)
    }

    /// Gives an inode one more name.
    pub(super) fn link(&mut self, parent: Ino, name: &[u8], ino: Ino, now: Now) -> Result<(), Errno> {
        if self.get(ino)?.links >= MAX_LINKS {
            return Err(Errno::EMLINK);
        }
        self.put(parent, name, ino)?;
        self.get_mut(ino)?.links += 1;
        self.get_mut(parent)?.modified(now);
        Ok(())
    }

    /// Takes a name away, and with the last one what it meant, unless that is open.
    pub(super) fn unlink(&mut self, parent: Ino, name: &[u8], now: Now) -> Result<(), Errno> {
        let ino = self.take(parent, name)?;
        self.get_mut(parent)?.modified(now);
        self.lose(ino, parent, now)
    }

    /// An inode lost a name in `parent`.
    pub(super) fn lose(&mut self, ino: Ino, parent: Ino, now: Now) -> Result<(), Errno> {
        let inode = self.get_mut(ino)?;
        inode.links -= 1;
        inode.changed(now);
        if inode.is_directory() {
            // `..` leads there as long as the removed directory is someone's working directory.
            self.hold(parent)?;
        }
        self.reap(ino);
        Ok(())
    }

    /// Puts an entry; its inode's links are the caller's to count.
    pub(super) fn put(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<(), Errno> {
        self.get(parent)?.directory()?;
        self.budget.charge(entry_cost(name))?;
        self.get_mut(parent)?.directory_mut()?.insert(name, ino);
        self.arrived(parent, name, ino)
    }

    /// Takes an entry; its inode's links are the caller's to count.
    pub(super) fn take(&mut self, parent: Ino, name: &[u8]) -> Result<Ino, Errno> {
        let ino = self.get_mut(parent)?.directory_mut()?.remove(name).ok_or(Errno::ENOENT)?;
        self.budget.release(entry_cost(name));
        self.left(parent, ino)?;
        Ok(ino)
    }

    /// Lets an entry mean another inode; which it meant before. Links are the caller's to count.
    pub(super) fn swap(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<Ino, Errno> {
        let old = self.get_mut(parent)?.directory_mut()?.replace(name, ino).ok_or(Errno::ENOENT)?;
        self.left(parent, old)?;
        self.arrived(parent, name, ino)?;
        Ok(old)
    }

    fn arrived(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<(), Errno> {
        if let Ok(directory) = self.get_mut(ino)?.directory_mut() {
            directory.parent = parent;
            directory.name = name.into();
            self.get_mut(parent)?.directory_mut()?.subdirectories += 1;
        }
        Ok(())
    }

    fn left(&mut self, parent: Ino, ino: Ino) -> Result<(), Errno> {
        if self.get(ino)?.is_directory() {
            self.get_mut(parent)?.directory_mut()?.subdirectories -= 1;
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, ino: Ino) -> Result<(), Errno> {
        self.get_mut(ino)?.holds += 1;
        Ok(())
    }

    pub(super) fn release(&mut self, ino: Ino) {
        if let Ok(inode) = self.get_mut(ino) {
            inode.holds = inode.holds.saturating_sub(1);
        }
        self.reap(ino);
    }

    /// Frees an inode that nothing needs, and then the removed directories around it that only it needed.
    fn reap(&mut self, mut ino: Ino) {
        while ino != Ino::ROOT && self.get(ino).is_ok_and(|inode| inode.links == 0 && inode.holds == 0) {
            let Some(inode) = self.slots[ino.slot()].take() else { return };
            self.free.push(ino);
            self.budget.release(INODE_COST);
            match inode.kind {
                Kind::File(mut content) => content.clear(&mut self.budget),
                Kind::Symlink(target) => self.budget.release(target.len()),
                Kind::Pipe(_) => {
                    self.pipes -= 1;
                    self.budget.release(PIPE_CAPACITY);
                }
                Kind::Epoll(epoll) => self.budget.release(epoll.cost()),
                Kind::Socket(socket) => self.closed.push(socket),
                Kind::Directory(directory) if directory.parent != Ino::NONE => {
                    ino = directory.parent;
                    if let Ok(parent) = self.get_mut(ino) {
                        parent.holds = parent.holds.saturating_sub(1);
                    }
                    continue;
                }
                _ => {}
            }
            return;
        }
    }
}

//! epoll: a set of descriptors, and which of them are ready: by level, by edge, or once.
//!
//! An interest belongs to a descriptor and its description, as on Linux; descriptions have numbers that are never used
//! again, so one that was closed is found out when it is looked at. An instance inside another is refused.
use super::{
    Fs,
    inode::{Ino, Kind, Mount},
    limits::{INTEREST_COST, MAX_INTERESTS},
    ready::Edges,
    world::Events,
};
use crate::errno::Errno;
use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Bound;
use linux_raw_sys::general as abi;

/// A descriptor and its description.
type Key = (i32, u64);

#[derive(Debug, Clone, Copy)]
struct Interest {
    /// As in `struct epoll_event`: events and `EPOLLET`, `EPOLLONESHOT`.
    events: u32,
    data: u64,
    /// The edges that were reported; `None` since it was set.
    seen: Option<Edges>,
    /// Reported once, as asked.
    spent: bool,
}

/// An epoll instance.
#[derive(Debug, Default)]
pub(super) struct Epoll {
    interests: BTreeMap<Key, Interest>,
    /// The one reported last: looking goes on after it, so that none starves.
    last: Option<Key>,
}

/// As `struct epoll_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EpollEvent {
    /// Events, and flags where it is set.
    pub events: u32,
    /// The program's own.
    pub data: u64,
}

const FLAGS: u32 = abi::EPOLLET | abi::EPOLLONESHOT | abi::EPOLLWAKEUP | abi::EPOLLEXCLUSIVE;

impl Fs {
    /// epoll_create1(2).
    pub fn epoll_create1(&mut self, flags: u32) -> Result<i32, Errno> {
        if flags & !abi::EPOLL_CLOEXEC != 0 {
            return Err(Errno::EINVAL);
        }
        let kind = Kind::Epoll(Epoll::default());
        self.install_new(kind, 0o600, Mount::Nameless, abi::O_RDWR, flags & abi::EPOLL_CLOEXEC != 0)
    }

    /// epoll_ctl(2).
    pub fn epoll_ctl(&mut self, epfd: i32, operation: u32, fd: i32, event: EpollEvent) -> Result<(), Errno> {
        let epoll = self.description(epfd)?.ino;
        let key = (fd, self.description_id(fd)?);
        let target = self.description(fd)?.ino;
        match self.inodes.get(target)?.kind {
            Kind::File(_)
            | Kind::Directory(_)
            | Kind::Descriptors(_)
            | Kind::Symlink(_)
            | Kind::Device(_)
            | Kind::Generated(_) => {
                return Err(Errno::EPERM);
            }
            Kind::Epoll(_) if target != epoll => return Err(Errno::ELOOP),
            Kind::Epoll(_) => return Err(Errno::EINVAL),
            _ => {}
        }
        let gone = self.gone(epoll)?;
        // Before, since it is what can fail: what is not needed after all is given back.
        let more = if operation == abi::EPOLL_CTL_ADD { INTEREST_COST } else { 0 };
        self.inodes.budget.charge(more)?;
        let Kind::Epoll(epoll) = &mut self.inodes.get_mut(epoll)?.kind else { return Err(Errno::EINVAL) };
        let before = epoll.cost() + more;
        for gone in gone {
            epoll.interests.remove(&gone);
        }
        let result = epoll.control(operation, key, event);
        let after = epoll.cost();
        self.inodes.budget.release(before - after);
        self.touch();
        result
    }

    /// The interests of an instance whose descriptions were closed.
    fn gone(&self, ino: Ino) -> Result<Vec<Key>, Errno> {
        let Kind::Epoll(epoll) = &self.inodes.get(ino)?.kind else { return Err(Errno::EINVAL) };
        let full = epoll.interests.len() >= MAX_INTERESTS / 2;
        let gone = |key: &&Key| full && self.descriptions.get(key.1).is_none();
        Ok(epoll.interests.keys().filter(gone).copied().collect())
    }

    /// What of an interest is ready, and at which edges.
    fn interest_ready(&self, key: Key, interest: &Interest) -> Option<(Events, Edges)> {
        let description = self.descriptions.get(key.1)?;
        let edges = self.edges(self.inodes.get(description.ino).ok()?);
        let wanted = Events(interest.events & !FLAGS).and(Events::ERR).and(Events::HUP);
        let ready = Events(self.description_ready(description).0 & wanted.0);
        if interest.spent || ready == Events::NONE {
            return None;
        }
        if interest.events & abi::EPOLLET != 0
            && let Some(seen) = interest.seen
        {
            let input = seen.read != edges.read && wanted.meets(Events::IN);
            let output = seen.write != edges.write && wanted.meets(Events::OUT);
            if !(input || output || seen.end != edges.end) {
                return None;
            }
        }
        Some((ready, edges))
    }

    pub(super) fn epoll_ready(&self, epoll: &Epoll) -> bool {
        epoll.interests.iter().any(|(key, interest)| self.interest_ready(*key, interest).is_some())
    }

    /// epoll_wait(2) without the waiting: fills `events` with what is ready now; 0 is none.
    pub fn epoll_wait(&mut self, epfd: i32, events: &mut [EpollEvent]) -> Result<usize, Errno> {
        let ino = self.description(epfd)?.ino;
        let Kind::Epoll(epoll) = &self.inodes.get(ino)?.kind else { return Err(Errno::EINVAL) };
        if events.is_empty() {
            return Err(Errno::EINVAL);
        }
        let start = epoll.last.map_or(Bound::Unbounded, Bound::Excluded);
        let end = epoll.last.map_or(Bound::Excluded((i32::MIN, 0)), Bound::Included);
        let round =
            epoll.interests.range((start, Bound::Unbounded)).chain(epoll.interests.range((Bound::Unbounded, end)));
        let ready = round.filter_map(|(key, interest)| Some((*key, self.interest_ready(*key, interest)?)));
        let ready: Vec<_> = ready.take(events.len()).collect();
        let Kind::Epoll(epoll) = &mut self.inodes.get_mut(ino)?.kind else { return Err(Errno::EINVAL) };
        for ((key, (ready, edges)), event) in ready.iter().zip(events) {
            if let Some(interest) = epoll.interests.get_mut(key) {
                *event = EpollEvent { events: ready.0, data: interest.data };
                interest.seen = Some(*edges);
                interest.spent = interest.events & abi::EPOLLONESHOT != 0;
                epoll.last = Some(*key);
            }
        }
        Ok(ready.len())
    }
}

impl Epoll {
    /// Bytes that the interests are charged with.
    pub(super) fn cost(&self) -> usize {
        self.interests.len() * INTEREST_COST
    }

    fn control(&mut self, operation: u32, key: Key, event: EpollEvent) -> Result<(), Errno> {
        let interest = Interest { events: event.events, data: event.data, seen: None, spent: false };
        match (operation, self.interests.contains_key(&key)) {
            (abi::EPOLL_CTL_ADD, true) => return Err(Errno::EEXIST),
            (abi::EPOLL_CTL_ADD, false) if self.interests.len() >= MAX_INTERESTS => return Err(Errno::ENOSPC),
            (abi::EPOLL_CTL_ADD, false) | (abi::EPOLL_CTL_MOD, true) => drop(self.interests.insert(key, interest)),
            (abi::EPOLL_CTL_DEL, true) => drop(self.interests.remove(&key)),
            (abi::EPOLL_CTL_MOD | abi::EPOLL_CTL_DEL, false) => return Err(Errno::ENOENT),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

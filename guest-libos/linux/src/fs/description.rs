//! Open file descriptions, which duplicated descriptors share, and the table of descriptors.
use super::{
    Fs,
    inode::{Ino, Inode, Kind, Mount},
    limits::MAX_DESCRIPTORS,
};
use crate::{errno::Errno, net::limits::MAX_IN_FLIGHT};
use alloc::{boxed::Box, vec::Vec};
use linux_raw_sys::general as abi;

/// Flags of close_range(2).
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

/// An open file description.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) ino: Ino,
    /// Access mode and status flags, as `F_GETFL` tells them.
    pub(super) flags: u32,
    /// At most `i64::MAX`.
    pub(super) offset: u64,
    /// Descriptors that share it, and messages that take it along.
    descriptors: u32,
    /// The directory entry that it was opened by.
    pub(super) at: Option<(Ino, Box<[u8]>)>,
    /// What a generated file was when it was last read from the start.
    pub(super) text: Vec<u8>,
    /// The text was made for a read that has not come yet.
    pub(super) fresh: bool,
}

/// Places of descriptions, the low part of their numbers: no more than there can be descriptors, and messages with some.
const PLACES: u64 = (MAX_DESCRIPTORS + MAX_IN_FLIGHT).next_power_of_two() as u64;

/// All descriptions, by numbers that are never used again: how many there were before, then the place.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    slots: Vec<Option<(u64, Description)>>,
    free: Vec<usize>,
    made: u64,
}

impl Descriptions {
    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<&Description> {
        let slot = self.slots.get((id % PLACES) as usize)?.as_ref();
        slot.filter(|(there, _)| *there == id).map(|(_, description)| description)
    }

    #[inline]
    fn get_mut(&mut self, id: u64) -> Option<&mut Description> {
        let slot = self.slots.get_mut((id % PLACES) as usize)?.as_mut();
        slot.filter(|(there, _)| *there == id).map(|(_, description)| description)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Description> {
        self.slots.iter().flatten().map(|(_, description)| description)
    }

    /// A file got another name: what was opened by the old one is called so too.
    pub(super) fn renamed(&mut self, ino: Ino, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        let moved = |at: &&mut (Ino, Box<[u8]>)| (at.0, &at.1[..]) == from;
        let opened = self.slots.iter_mut().flatten().map(|(_, open)| open).filter(|open| open.ino == ino);
        for at in opened.filter_map(|open| open.at.as_mut()).filter(moved) {
            *at = (to.0, to.1.into());
        }
    }

    fn add(&mut self, description: Description) -> u64 {
        self.made += 1;
        let place = self.free.pop().unwrap_or(self.slots.len());
        let id = self.made * PLACES + place as u64;
        if place == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[place] = Some((id, description));
        id
    }

    fn remove(&mut self, id: u64) -> Option<Description> {
        self.get(id)?;
        let place = (id % PLACES) as usize;
        self.free.push(place);
        self.slots[place].take().map(|(_, description)| description)
    }
}

/// A descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    description: u64,
    pub(super) close_on_exec: bool,
}

impl Fs {
    pub(super) fn slot(&self, fd: i32) -> Result<Slot, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.table.get(index).copied().flatten().ok_or(Errno::EBADF)
    }

    pub(super) fn description_id(&self, fd: i32) -> Result<u64, Errno> {
        self.slot(fd).map(|slot| slot.description)
    }

    /// The description of a descriptor, also of one that only stands for a path.
    pub(super) fn any_description(&self, fd: i32) -> Result<&Description, Errno> {
        self.descriptions.get(self.slot(fd)?.description).ok_or(Errno::EBADF)
    }

    /// The description of a descriptor that was opened for more than its path.
    pub(super) fn description(&self, fd: i32) -> Result<&Description, Errno> {
        self.any_description(fd)
            .and_then(|open| if open.flags & abi::O_PATH == 0 { Ok(open) } else { Err(Errno::EBADF) })
    }

    pub(super) fn description_mut(&mut self, fd: i32) -> Result<&mut Description, Errno> {
        let id = self.slot(fd)?.description;
        let open = self.descriptions.get_mut(id).ok_or(Errno::EBADF)?;
        if open.flags & abi::O_PATH == 0 { Ok(open) } else { Err(Errno::EBADF) }
    }

    /// The lowest free descriptor at or above `from`.
    pub(super) fn lowest_free(&self, from: usize) -> Result<i32, Errno> {
        let free = (from..self.table.len()).find(|index| self.table[*index].is_none());
        let free = free.unwrap_or_else(|| from.max(self.table.len()));
        if free < self.descriptor_limit { i32::try_from(free).map_err(|_| Errno::EMFILE) } else { Err(Errno::EMFILE) }
    }

    /// Lets `fd`, which is free and was given by [`Self::lowest_free`] or checked against the bound, mean a description.
    fn set_slot(&mut self, fd: i32, slot: Slot) {
        let index = fd.cast_unsigned() as usize;
        if self.table.len() <= index {
            self.table.resize(index + 1, None);
        }
        self.table[index] = Some(slot);
        if let Some(description) = self.descriptions.get_mut(slot.description) {
            description.descriptors += 1;
        }
        self.touch();
    }

    /// Opens an inode; its description goes to the lowest descriptor.
    pub(super) fn install(
        &mut self,
        ino: Ino,
        flags: u32,
        at: Option<(Ino, Box<[u8]>)>,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        let fd = self.lowest_free(0)?;
        self.inodes.hold(ino)?;
        let description = Description { ino, flags, offset: 0, descriptors: 0, at, text: Vec::new(), fresh: false };
        let (reads, writes) = (description.readable(), description.writable());
        if let Kind::Pipe(pipe) = &mut self.inodes.get_mut(ino)?.kind {
            pipe.readers += u32::from(reads);
            pipe.writers += u32::from(writes);
        }
        let id = self.descriptions.add(description);
        self.set_slot(fd, Slot { description: id, close_on_exec });
        Ok(fd)
    }

    /// Makes an inode without a name and opens it, or does nothing.
    pub(super) fn install_new(
        &mut self,
        kind: Kind,
        mode: u32,
        mount: Mount,
        flags: u32,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        self.lowest_free(0)?;
        // Memory for what is not a file's is ENOMEM.
        let ino = self.inodes.add(Inode::new(kind, mode, mount, self.world.now())).map_err(|_| Errno::ENOMEM)?;
        self.install(ino, flags, None, close_on_exec)
    }

    /// close(2).
    pub fn close(&mut self, fd: i32) -> Result<(), Errno> {
        let slot = self.slot(fd)?;
        self.table[fd.cast_unsigned() as usize] = None;
        self.let_go(slot.description);
        self.close_sockets();
        self.touch();
        Ok(())
    }

    /// A message takes a description along.
    pub(super) fn hold_description(&mut self, id: u64) {
        if let Some(description) = self.descriptions.get_mut(id) {
            description.descriptors += 1;
        }
    }

    /// A descriptor or a message does not need a description any more.
    pub(super) fn let_go(&mut self, id: u64) {
        let Some(description) = self.descriptions.get_mut(id) else { return };
        description.descriptors -= 1;
        if description.descriptors == 0 {
            self.drop_description(id);
        }
    }

    /// A descriptor for the description that a message brought, at the lowest place.
    pub(super) fn install_again(&mut self, description: u64, close_on_exec: bool) -> Result<i32, Errno> {
        let fd = self.lowest_free(0)?;
        self.set_slot(fd, Slot { description, close_on_exec });
        Ok(fd)
    }

    fn drop_description(&mut self, id: u64) {
        let Some(open) = self.descriptions.remove(id) else { return };
        if let Ok(Inode { kind: Kind::Pipe(pipe), .. }) = self.inodes.get_mut(open.ino) {
            pipe.readers -= u32::from(open.readable());
            pipe.writers -= u32::from(open.writable());
            pipe.edges.end += u64::from((pipe.readers == 0) != (pipe.writers == 0));
        }
        self.inodes.budget.release(open.text.len());
        self.inodes.release(open.ino);
    }

    /// close_range(2).
    pub fn close_range(&mut self, first: u32, last: u32, flags: u32) -> Result<(), Errno> {
        if first > last || flags & !(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE) != 0 {
            return Err(Errno::EINVAL);
        }
        for fd in (0_u32..).zip(0..self.table.len()).map(|(fd, _)| fd).filter(|fd| (first..=last).contains(fd)) {
            if flags & CLOSE_RANGE_CLOEXEC == 0 {
                let _ = self.close(fd.cast_signed());
            } else if let Some(slot) = &mut self.table[fd as usize] {
                slot.close_on_exec = true;
            }
        }
        Ok(())
    }

    /// fcntl(2) with `F_DUPFD`: the lowest free descriptor at or above `from`.
    pub(super) fn duplicate(&mut self, fd: i32, from: usize, close_on_exec: bool) -> Result<i32, Errno> {
        let slot = self.slot(fd)?;
        let new = self.lowest_free(from)?;
        self.set_slot(new, Slot { close_on_exec, ..slot });
        Ok(new)
    }

    /// dup(2).
    pub fn dup(&mut self, fd: i32) -> Result<i32, Errno> {
        self.duplicate(fd, 0, false)
    }

    /// dup2(2).
    pub fn dup2(&mut self, old: i32, new: i32) -> Result<i32, Errno> {
        if old == new { self.slot(old).map(|_| old) } else { self.dup3(old, new, 0) }
    }

    /// dup3(2).
    pub fn dup3(&mut self, old: i32, new: i32, flags: u32) -> Result<i32, Errno> {
        if flags & !abi::O_CLOEXEC != 0 || old == new {
            return Err(Errno::EINVAL);
        }
        if usize::try_from(new).map_or(true, |new| new >= self.descriptor_limit) {
            return Err(Errno::EBADF);
        }
        let slot = self.slot(old)?;
        // Whether something was open there makes no difference.
        let _ = self.close(new);
        self.set_slot(new, Slot { close_on_exec: flags & abi::O_CLOEXEC != 0, ..slot });
        Ok(new)
    }

    pub(super) fn set_close_on_exec(&mut self, fd: i32, close_on_exec: bool) -> Result<(), Errno> {
        self.slot(fd)?;
        if let Some(Some(slot)) = self.table.get_mut(fd.cast_unsigned() as usize) {
            slot.close_on_exec = close_on_exec;
        }
        Ok(())
    }

    /// The open descriptors from `from` up.
    pub(super) fn descriptors_from(&self, from: usize) -> impl Iterator<Item = i32> {
        let open = self.table.iter().enumerate().skip(from).filter(|(_, slot)| slot.is_some());
        open.filter_map(|(fd, _)| i32::try_from(fd).ok())
    }
}

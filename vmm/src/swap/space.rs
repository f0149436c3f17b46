//! Images of idle VMs in a file.

use super::{
    Page, STATE_BYTES_MAX, SwapError,
    block::{Block, Key, UNIT},
    holes::{Extent, Holes},
};
use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
};
use std::{borrow::Borrow, fs::File, io, os::unix::fs::FileExt};

/// A file full of images, and the memory to make and read one: little more than 2 MiB, whatever the number and size of VMs.
#[derive(Debug)]
pub(crate) struct SwapSpace {
    file: File,
    holes: Holes,
    block: Block,
    units: u64,
    /// Number of the latest image, also if it could not be written.
    sequence: u64,
    images: u64,
    written: u64,
    read: u64,
}

/// Where an image is, and how to know it. It is given back to [`SwapSpace::load`] or [`SwapSpace::free`] of the same
/// space, once; one that is dropped keeps its space until the file is gone.
#[derive(Debug)]
#[must_use = "the image can't be found or freed without it"]
pub(crate) struct Place {
    extent: Extent,
    sequence: u64,
    /// Of the last block, and by its seed of all before.
    checksum: u64,
}

const _: () = assert!(size_of::<Place>() <= 48);

/// What a space holds and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Images in it.
    pub(crate) images: u64,
    /// Bytes that they take.
    pub(crate) held: u64,
    /// Bytes left, in all.
    pub(crate) free: u64,
    /// Bytes ever written.
    pub(crate) written: u64,
    /// Bytes ever read.
    pub(crate) read: u64,
}

impl SwapSpace {
    /// Sets `bytes` aside in `file`, an empty one that no one else writes: see [`super::create`].
    pub(crate) fn new(file: File, bytes: u64) -> Result<Self, SwapError> {
        let units = bytes / UNIT as u64;
        set_aside(&file, units * UNIT as u64).map_err(|error| SwapError::Allocate { bytes, error })?;
        let (holes, block) = (Holes::new(units), Block::new().map_err(SwapError::Memory)?);
        Ok(Self { file, holes, block, units, sequence: 0, images: 0, written: 0, read: 0 })
    }

    /// Stores a VM: its pages by number, in any order, borrowed or copied, and its state.
    ///
    /// An image of one block is written to the hole that fits it best. How large a larger one will be is not known when
    /// its first block is ready: it goes to the front of the largest hole, block by block. Space is only taken when all
    /// of it is written, so there is nothing to give back on the way.
    pub(crate) fn store<P: Borrow<Page>>(
        &mut self,
        vm: u64,
        state: &[u8],
        pages: impl IntoIterator<Item = (u64, P)>,
    ) -> Result<Place, SwapError> {
        if state.len() > STATE_BYTES_MAX {
            return Err(SwapError::State { bytes: state.len() });
        }
        // A new number for each attempt: what an earlier one left in the file is not taken for this one's.
        self.sequence += 1;
        let key = Key { vm, sequence: self.sequence };
        let mut image = Draft { hole: None, units: 0, checksum: 0 };
        self.block.begin(state);
        for (number, page) in pages {
            if self.block.is_full() {
                self.write_block(key, &mut image, false)?;
                self.block.begin(&[]);
            }
            self.block.push(number, page.borrow());
        }
        let hole = self.write_block(key, &mut image, true)?;
        let extent = self.holes.take(hole, image.units);
        self.images += 1;
        Ok(Place { extent, sequence: self.sequence, checksum: image.checksum })
    }

    /// Seals the block in work and writes it to where `image` goes: that is decided by the first.
    fn write_block(&mut self, key: Key, image: &mut Draft, last: bool) -> Result<Extent, SwapError> {
        let sealed = self.block.seal(key, image.checksum);
        let needed = image.units + (sealed.bytes / UNIT) as u64;
        let choose = || if last { self.holes.best_fit(needed) } else { self.holes.largest() };
        let hole = image.hole.or_else(choose).filter(|hole| hole.units >= needed).ok_or_else(|| self.full(needed))?;
        self.file
            .write_all_at(&self.block.disk[..sealed.bytes], offset(hole.start + image.units))
            .map_err(SwapError::Disk)?;
        self.written += sealed.bytes as u64;
        *image = Draft { hole: Some(hole), units: needed, checksum: sealed.checksum };
        Ok(hole)
    }

    /// Loads the VM that was stored at `place`: hands its pages to `sink` in the order in which they were stored, and
    /// returns its state. The place is free after that, also if it fails: then the VM is lost.
    ///
    /// Each block is checked before any of it is handed on, so a VM of one block comes whole or not at all. After an error
    /// the sink may have got some of a larger one.
    pub(crate) fn load(
        &mut self,
        place: Place,
        vm: u64,
        mut sink: impl FnMut(u64, &Page),
    ) -> Result<Vec<u8>, SwapError> {
        let (key, checksum) = (Key { vm, sequence: place.sequence }, place.checksum);
        // Free from now on, but no one can write to it before this is over.
        let mut unread = self.release(place);
        let corrupt = |why| SwapError::Corrupt { vm, why };
        let (mut held, mut before, mut state) = (0, 0, None);
        while unread.units > 0 || held > 0 {
            held += self.read(&mut unread, held).map_err(SwapError::Disk)?;
            let opened = self.block.open(held, key, before).map_err(corrupt)?;
            if unread.units == 0 && opened.bytes == held && opened.checksum != checksum {
                return Err(corrupt("it ends otherwise"));
            }
            state.get_or_insert_with(|| self.block.state().to_vec());
            self.block.pages(&mut sink).map_err(corrupt)?;
            // The next block, as far as it is here.
            self.block.disk.copy_within(opened.bytes..held, 0);
            held -= opened.bytes;
            before = opened.checksum;
        }
        state.ok_or_else(|| corrupt("it is empty"))
    }

    /// Reads as much as fits behind the `held` bytes in memory from the front of `unread`, and says how many bytes.
    fn read(&mut self, unread: &mut Extent, held: usize) -> io::Result<usize> {
        let units = unread.units.min(((self.block.disk.len() - held) / UNIT) as u64);
        let bytes = units as usize * UNIT;
        self.file.read_exact_at(&mut self.block.disk[held..][..bytes], offset(unread.start))?;
        self.read += bytes as u64;
        *unread = Extent { start: unread.start + units, units: unread.units - units };
        Ok(bytes)
    }

    /// Forgets the VM that was stored at `place`.
    pub(crate) fn free(&mut self, place: Place) {
        self.release(place);
    }

    #[expect(clippy::needless_pass_by_value, reason = "whoever gave it away can't free it again")]
    fn release(&mut self, place: Place) -> Extent {
        self.holes.give(place.extent);
        self.images -= 1;
        place.extent
    }

    /// What it holds and did.
    pub(crate) fn counts(&self) -> Counts {
        let free = self.holes.free();
        Counts {
            images: self.images,
            held: offset(self.units - free),
            free: offset(free),
            written: self.written,
            read: self.read,
        }
    }

    /// Bytes free in one piece.
    pub(crate) fn largest_hole(&self) -> u64 {
        offset(self.holes.largest().map_or(0, |hole| hole.units))
    }

    fn full(&self, needed: u64) -> SwapError {
        let (largest, free) = (self.largest_hole(), offset(self.holes.free()));
        SwapError::Full { needed: offset(needed), largest, free }
    }
}

/// An image of which some blocks are written.
struct Draft {
    /// Where it goes, once that is decided.
    hole: Option<Extent>,
    units: u64,
    checksum: u64,
}

/// Bytes in `units`.
fn offset(units: u64) -> u64 {
    units * UNIT as u64
}

/// Makes the file so large, with all of it on the disk.
fn set_aside(file: &File, bytes: u64) -> io::Result<()> {
    // Some file systems fill themselves up before they say that it is too much, and the node needs room meanwhile. Those
    // without a size of their own (a memory file's) say nothing here.
    let system = fstatvfs(file)?;
    if system.f_blocks > 0 && bytes > system.f_bavail.saturating_mul(system.f_frsize) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    loop {
        // Whoever calls is a thread that signals interrupt.
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
pub(super) mod tests;

//! The contents of a regular file: bytes of the bundle below, chunks of the program's own above, holes elsewhere.
//!
//! Copy-up is by chunk: writing one byte of a large file of the bundle copies one chunk. A chunk is as long as what was
//! written into it needs, rounded up to a power of two; what it lacks reads as zeros.
//!
//! Invariant: no chunk has a byte other than zero at or after `len`, and `below` ends at or before it. So growing a file
//! needs no work.
use super::{
    budget::Budget,
    limits::{CHUNK, MIN_CHUNK},
};
use crate::errno::Errno;
use alloc::{collections::BTreeMap, vec::Vec};

/// What a hole shows.
pub(super) static ZEROS: [u8; 4096] = [0; _];

/// Bytes of a regular file, sparse.
#[derive(Debug, Default)]
pub struct Content {
    below: &'static [u8],
    chunks: BTreeMap<u64, Vec<u8>>,
    len: u64,
    /// Bytes of all chunks.
    held: usize,
}

/// The chunk of `offset`, and where in it.
const fn split(offset: u64) -> (u64, usize) {
    (offset / CHUNK as u64, (offset % CHUNK as u64) as usize)
}

impl Content {
    pub(super) const fn borrowed(bytes: &'static [u8]) -> Self {
        Self { below: bytes, chunks: BTreeMap::new(), len: bytes.len() as u64, held: 0 }
    }

    /// Length in bytes, holes included.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it, if nothing of it was ever written.
    pub(super) fn packed(&self) -> Option<&'static [u8]> {
        (self.chunks.is_empty() && self.len == self.below.len() as u64).then_some(self.below)
    }

    /// Bytes of memory that it holds or borrows.
    pub(super) fn stored(&self) -> u64 {
        self.held as u64 + self.below.len() as u64
    }

    /// The bytes of the layer below in chunk `index`.
    fn below(&self, index: u64) -> &'static [u8] {
        let start = usize::try_from(index.saturating_mul(CHUNK as u64)).unwrap_or(usize::MAX);
        let rest = self.below.get(start..).unwrap_or(&[]);
        &rest[..rest.len().min(CHUNK)]
    }

    /// Reads at `offset`; the count is short at the end of the file only.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        let mut done = 0;
        while done < count {
            let (index, from) = split(offset + done as u64);
            let end = (done + CHUNK - from).min(count);
            let piece = &mut buffer[done..end];
            let source = self.chunks.get(&index).map_or_else(|| self.below(index), Vec::as_slice);
            let source = source.get(from..).unwrap_or(&[]);
            let stored = source.len().min(piece.len());
            piece[..stored].copy_from_slice(&source[..stored]);
            piece[stored..].fill(0);
            done = end;
        }
        count
    }

    /// The bytes from `offset` on, at most `count`, in pieces of at most a chunk.
    pub(super) fn pieces(&self, offset: u64, count: usize) -> impl Iterator<Item = &[u8]> {
        let end = offset.saturating_add(count as u64).min(self.len);
        let mut at = offset;
        core::iter::from_fn(move || {
            let (index, from) = split(at);
            let wanted = usize::try_from(end.checked_sub(at)?).unwrap_or(usize::MAX).min(CHUNK - from);
            let stored = self.chunks.get(&index).map_or_else(|| self.below(index), Vec::as_slice);
            let stored = stored.get(from..).filter(|rest| !rest.is_empty()).unwrap_or(&ZEROS);
            let piece = &stored[..stored.len().min(wanted)];
            at += piece.len() as u64;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Writes at `offset`, which with the length is at most `i64::MAX`. The count is short where memory ends; an error
    /// is that not one byte was written.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], budget: &mut Budget) -> Result<usize, Errno> {
        let mut done = 0;
        while done < bytes.len() {
            let (index, from) = split(offset + done as u64);
            let count = (CHUNK - from).min(bytes.len() - done);
            match self.chunk(index, from + count, budget) {
                Ok(chunk) => chunk[from..from + count].copy_from_slice(&bytes[done..done + count]),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            done += count;
            self.len = self.len.max(offset + done as u64);
        }
        Ok(done)
    }

    /// The chunk `index` of the program's own layer with room for `need` bytes, made or grown if it must be.
    fn chunk(&mut self, index: u64, need: usize, budget: &mut Budget) -> Result<&mut Vec<u8>, Errno> {
        let below = if self.chunks.contains_key(&index) { &[] } else { self.below(index) };
        let held = self.chunks.get(&index).map_or(0, Vec::len);
        let wanted = need.max(below.len()).next_power_of_two().clamp(MIN_CHUNK, CHUNK);
        if wanted > held {
            budget.charge(wanted - held)?;
        }
        let chunk = self.chunks.entry(index).or_default();
        if wanted > held {
            if chunk.try_reserve_exact(wanted - held).is_err() {
                budget.release(wanted - held);
                if held == 0 {
                    self.chunks.remove(&index);
                }
                return Err(Errno::ENOSPC);
            }
            chunk.extend_from_slice(below);
            chunk.resize(wanted, 0);
            self.held += wanted - held;
        }
        self.chunks.get_mut(&index).ok_or(Errno::EIO)
    }

    /// Cuts or grows to `len` bytes. Cutting never needs memory.
    pub(super) fn resize(&mut self, len: u64, budget: &mut Budget) {
        if len < self.len {
            let (index, from) = split(len);
            let keep = index + u64::from(from > 0);
            for chunk in self.chunks.split_off(&keep).into_values() {
                self.held -= chunk.len();
                budget.release(chunk.len());
            }
            if let Some(tail) = self.chunks.get_mut(&index).and_then(|chunk| chunk.get_mut(from..)) {
                tail.fill(0);
            }
            let below = usize::try_from(len).unwrap_or(usize::MAX).min(self.below.len());
            self.below = &self.below[..below];
        }
        self.len = len;
    }

    /// Makes `offset..end` read as zeros without changing the length; whole chunks become holes.
    pub(super) fn punch(&mut self, offset: u64, end: u64, budget: &mut Budget) -> Result<(), Errno> {
        let end = end.min(self.len);
        let mut at = offset;
        while let Some(index) = self.next_stored(at).filter(|_| at < end) {
            at = at.max(index * CHUNK as u64);
            let (_, from) = split(at);
            if at >= end {
                break;
            }
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK - from);
            let own = self.chunks.contains_key(&index);
            if from == 0 && count == CHUNK && own && self.below(index).is_empty() {
                let freed = self.chunks.remove(&index).map_or(0, |chunk| chunk.len());
                self.held -= freed;
                budget.release(freed);
            } else {
                let chunk = self.chunk(index, from + count, budget)?;
                chunk[from..from + count].fill(0);
            }
            at += count as u64;
        }
        Ok(())
    }

    /// The first chunk at or after the one of `offset` that is not a hole.
    fn next_stored(&self, offset: u64) -> Option<u64> {
        let (index, _) = split(offset);
        if !self.below(index).is_empty() {
            return Some(index);
        }
        self.chunks.range(index..).next().map(|(index, _)| *index)
    }

    /// Where data is, at or after `offset`, if it is before the end (`SEEK_DATA`).
    pub(super) fn data_from(&self, offset: u64) -> Option<u64> {
        self.next_stored(offset).map(|index| offset.max(index * CHUNK as u64)).filter(|at| *at < self.len)
    }

    /// Where a hole is, at or after `offset`: at the latest the end of the file (`SEEK_HOLE`).
    pub(super) fn hole_from(&self, offset: u64) -> u64 {
        let (mut index, _) = split(offset);
        let first = index;
        while self.chunks.contains_key(&index) || !self.below(index).is_empty() {
            index += 1;
        }
        if index == first { offset } else { (index * CHUNK as u64).min(self.len) }
    }

    /// Gives back all memory.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        self.resize(0, budget);
    }
}

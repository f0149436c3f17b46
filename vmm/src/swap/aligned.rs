//! Memory that a disk can be read into, and written from, past the page cache.

use std::ops::{Deref, DerefMut};

/// Alignment of memory, offsets and lengths, in bytes: no disk or file system in use asks for more.
pub(super) const ALIGNMENT: usize = 4096;

/// Zeroed bytes, from an aligned address. What is never touched takes no memory.
#[derive(Debug)]
pub(super) struct Aligned {
    /// Never resized, so it stays where it is.
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(super) fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, length }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.length]
    }
}

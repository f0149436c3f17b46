//! What one write to a swap file holds: a header, and compressed records of pages. A VM with up to a mebibyte of private
//! pages is one block; a larger one is several, one after the other. Pure; what is read is checked before it is used.
//!
//! | header bytes | what, little-endian |
//! |---|---|
//! | 0..8 | XXH3 of all that follows, padding included, seeded with that of the block before |
//! | 8..16 | magic and version |
//! | 16..24 | the VM |
//! | 24..32 | sequence number of the image |
//! | 32..36 | bytes of state, at the front of the records; none but in the first block |
//! | 36..40 | bytes of records |
//! | 40..44 | bytes of records as compressed |
//! | 44..48 | zero |
//!
//! A record is the number of a page (8 bytes), then [`ZERO`], or [`FILLED`] and the page. Each block thus has its own part
//! of the page table, and no table has to be held or sized before the last page is known. Zeros pad it to whole units.

use super::{Page, STATE_BYTES_MAX};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use memmap2::MmapMut;
use std::io;
use twox_hash::XxHash3_64;

/// Unit of space in a swap file, in bytes, and what memory, offsets and lengths are aligned to: no disk or file system in use
/// asks for more to be read and written past the page cache.
pub(super) const UNIT: usize = 4096;

const MAGIC: [u8; 8] = *b"dnlswap\x01";
const HEADER_BYTES: usize = 48;
const CHECKSUM_BYTES: usize = 8;

/// Most bytes of records in a block.
const RECORDS_BYTES_MAX: usize = 1 << 20;
/// A page of zeros.
const ZERO: u8 = 0;
/// A page of something else, which follows.
const FILLED: u8 = 1;
/// Bytes of the longest record.
const RECORD_BYTES_MAX: usize = 8 + 1 + size_of::<Page>();

/// Most bytes of a block: what the compressor wants to have, a tenth more than it gets. Random bytes take less.
const BLOCK_BYTES_MAX: usize = (HEADER_BYTES + get_maximum_output_size(RECORDS_BYTES_MAX)).next_multiple_of(UNIT);

/// Whose image it is, and which: a sequence number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) vm: u64,
    pub(super) sequence: u64,
}

/// A block that is sealed, or was found good: its bytes with padding, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) bytes: usize,
    pub(super) checksum: u64,
}

/// The one block that is in work, with the memory for it. That is mapped: no more of it is taken than was ever used, while an
/// allocator may have to write the zeros.
#[derive(Debug)]
pub(super) struct Block {
    /// State and records.
    records: MmapMut,
    filled: usize,
    state_bytes: usize,
    /// As it is on disk.
    pub(super) disk: MmapMut,
}

impl Block {
    pub(super) fn new() -> io::Result<Self> {
        let (records, disk) = (MmapMut::map_anon(RECORDS_BYTES_MAX)?, MmapMut::map_anon(BLOCK_BYTES_MAX)?);
        Ok(Self { records, filled: 0, state_bytes: 0, disk })
    }

    /// Begins to make a block. `state` has at most [`STATE_BYTES_MAX`].
    pub(super) fn begin(&mut self, state: &[u8]) {
        (self.filled, self.state_bytes) = (0, state.len());
        self.append(state);
    }

    /// Whether there is room for no further page.
    pub(super) fn is_full(&self) -> bool {
        RECORDS_BYTES_MAX - self.filled < RECORD_BYTES_MAX
    }

    /// Adds a page. The block is not full.
    pub(super) fn push(&mut self, number: u64, page: &Page) {
        self.append(&number.to_le_bytes());
        if *page == [0; _] {
            self.append(&[ZERO]);
        } else {
            self.append(&[FILLED]);
            self.append(page);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.records[self.filled..][..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Puts the block together in `disk`; `before` is the checksum of the one before.
    pub(super) fn seal(&mut self, key: Key, before: u64) -> Sealed {
        let packed = compress_into(&self.records[..self.filled], &mut self.disk[HEADER_BYTES..])
            .expect("`disk` has the size that the compressor asks for");
        let header = Header { key, state_bytes: self.state_bytes, records_bytes: self.filled, packed_bytes: packed };
        self.disk[CHECKSUM_BYTES..HEADER_BYTES].copy_from_slice(&header.encode());
        let bytes = header.block_bytes();
        self.disk[HEADER_BYTES + packed..bytes].fill(0);
        let checksum = XxHash3_64::oneshot_with_seed(before, &self.disk[CHECKSUM_BYTES..bytes]);
        self.disk[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Sealed { bytes, checksum }
    }

    /// Checks and unpacks the block at the front of the first `length` bytes of `disk`. Where it fails, why.
    pub(super) fn open(&mut self, length: usize, key: Key, before: u64) -> Result<Sealed, &'static str> {
        let disk = &self.disk[..length];
        let header = Header::parse(disk)?;
        if header.key.vm != key.vm {
            return Err("it is of another VM");
        }
        if header.key.sequence != key.sequence {
            return Err("it is of another time");
        }
        let bytes = header.block_bytes();
        let sealed = disk.get(CHECKSUM_BYTES..bytes).ok_or("its end is missing")?;
        let checksum = XxHash3_64::oneshot_with_seed(before, sealed);
        if disk[..CHECKSUM_BYTES] != checksum.to_le_bytes() {
            return Err("its checksum is wrong");
        }
        let packed = &disk[HEADER_BYTES..][..header.packed_bytes];
        let records = &mut self.records[..header.records_bytes];
        if decompress_into(packed, records).ok() != Some(header.records_bytes) {
            return Err("it can't be unpacked");
        }
        (self.filled, self.state_bytes) = (header.records_bytes, header.state_bytes);
        Ok(Sealed { bytes, checksum })
    }

    /// The state in it.
    pub(super) fn state(&self) -> &[u8] {
        &self.records[..self.state_bytes]
    }

    /// Hands each page on.
    pub(super) fn pages(&self, sink: &mut impl FnMut(u64, &Page)) -> Result<(), &'static str> {
        let mut records = &self.records[self.state_bytes..self.filled];
        while let Some((number, rest)) = records.split_first_chunk() {
            let (page, rest) = match rest.split_first() {
                Some((&ZERO, rest)) => (&[0; _], rest),
                Some((&FILLED, rest)) => rest.split_first_chunk().ok_or("a page is cut off")?,
                _ => return Err("a record is of no known kind"),
            };
            sink(u64::from_le_bytes(*number), page);
            records = rest;
        }
        if records.is_empty() { Ok(()) } else { Err("a record is cut off") }
    }
}

/// All of a block's header but its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    key: Key,
    state_bytes: usize,
    records_bytes: usize,
    packed_bytes: usize,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES - CHECKSUM_BYTES] {
        let mut bytes = [0; _];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.key.vm.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.key.sequence.to_le_bytes());
        let lengths = [self.state_bytes, self.records_bytes, self.packed_bytes];
        for (n, length) in lengths.into_iter().enumerate() {
            // No length is above a few mebibytes.
            bytes[24 + 4 * n..][..4].copy_from_slice(&(length as u32).to_le_bytes());
        }
        bytes
    }

    /// Reads the header at the front of a block, whatever its bytes. What it says then fits the memory for a block.
    fn parse(block: &[u8]) -> Result<Self, &'static str> {
        let words = block.as_chunks::<8>().0;
        let &[_checksum, MAGIC, vm, sequence, lengths, last, ..] = words else {
            return Err("it begins like no image of this version");
        };
        let half = |word: [u8; 8], n: usize| {
            let word = u64::from_le_bytes(word);
            (if n == 0 { word & 0xffff_ffff } else { word >> 32 }) as usize
        };
        let header = Self {
            key: Key { vm: u64::from_le_bytes(vm), sequence: u64::from_le_bytes(sequence) },
            state_bytes: half(lengths, 0),
            records_bytes: half(lengths, 1),
            packed_bytes: half(last, 0),
        };
        let fits = header.state_bytes <= STATE_BYTES_MAX.min(header.records_bytes)
            && header.records_bytes <= RECORDS_BYTES_MAX
            && header.packed_bytes <= BLOCK_BYTES_MAX - HEADER_BYTES;
        if fits { Ok(header) } else { Err("its lengths are beyond all bounds") }
    }

    /// Bytes of the block, with header and padding.
    fn block_bytes(&self) -> usize {
        (HEADER_BYTES + self.packed_bytes).next_multiple_of(UNIT)
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

//! The output of one run, as it arrives: kept once, read by any number of followers at their own pace.
//!
//! A spool is a string of pieces, each a header (channel and length) and its bytes: first in memory, and from
//! [`MEMORY_BYTES`] on in a file. A follower keeps a [`Cursor`] into it, so a slow one costs the node nothing and slows
//! nobody. The spool of a finished run becomes its result's output as it is.

use super::store::{
    OutputPlace, StoreError,
    files::{Files, Finished},
};
use denali_protocol::{
    digest::Hasher,
    job::{Channel, ChannelDigest, OutputDigests},
    limits,
};
use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

/// A spool longer than this goes to a file, headers included.
const MEMORY_BYTES: usize = 256 * 1024;

/// Channel (u16) and length (u32), little-endian.
const HEADER_BYTES: usize = 6;

struct Written {
    channel: Channel,
    bytes: u64,
    hasher: Hasher,
}

/// A reader's place in a spool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Where the header of a piece is.
    piece: u64,
    /// Bytes of that piece that were read. It may grow while it is the last.
    read: u32,
}

/// The output of one run so far.
pub(crate) struct Spool {
    files: Arc<Files>,
    channels: Vec<Written>,
    memory: Vec<u8>,
    /// Where the header of the last piece is, as long as it is in memory.
    last: Option<usize>,
    file: Option<(String, Arc<File>)>,
    /// Length of all pieces with their headers.
    length: u64,
    /// Whether it became a result's output; else its file goes when it does.
    kept: bool,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some((name, _)) = self.file.take_if(|_| !self.kept) {
            self.files.remove_output(&name, 0);
        }
    }
}

impl Spool {
    /// An empty spool, with standard output and standard error in it.
    pub(crate) fn new(files: Arc<Files>) -> Self {
        let empty = |channel| Written { channel, bytes: 0, hasher: Hasher::default() };
        let channels = vec![empty(Channel::Output), empty(Channel::Error)];
        Self { files, channels, memory: Vec::new(), last: None, file: None, length: 0, kept: false }
    }

    /// Adds a piece. The number of channels and bytes is bounded by the rules for workers.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn append(&mut self, channel: Channel, bytes: &[u8]) -> Result<(), StoreError> {
        let at = match self.channels.iter().position(|written| written.channel == channel) {
            Some(at) => at,
            None => {
                self.channels.push(Written { channel, bytes: 0, hasher: Hasher::default() });
                self.channels.len() - 1
            }
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.channels[at].bytes += bytes.len() as u64;
        self.channels[at].hasher.update(bytes);
        let number = (at as u16).to_le_bytes();
        if self.file.is_none() && self.memory.len() + HEADER_BYTES + bytes.len() > MEMORY_BYTES {
            self.spill()?;
        }
        if let Some((_, file)) = &self.file {
            let piece = [&number, &(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
            file.write_all_at(&piece, self.length)?;
            self.length += piece.len() as u64;
        } else {
            self.append_in_memory(number, bytes);
        }
        Ok(())
    }

    /// Small pieces of one channel that follow each other become one.
    fn append_in_memory(&mut self, number: [u8; 2], bytes: &[u8]) {
        let header = self.last.and_then(|at| self.memory.get_mut(at..at + HEADER_BYTES));
        if let Some([n0, n1, length @ ..]) = header
            && [*n0, *n1] == number
            && let Ok(length) = <&mut [u8; 4]>::try_from(length)
            && u32::from_le_bytes(*length) as usize + bytes.len() <= limits::OUTPUT_PIECE_BYTES
        {
            *length = (u32::from_le_bytes(*length) + bytes.len() as u32).to_le_bytes();
        } else {
            self.last = Some(self.memory.len());
            self.memory.extend_from_slice(&number);
            self.memory.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        }
        self.memory.extend_from_slice(bytes);
        self.length = self.memory.len() as u64;
    }

    /// Bytes that it takes in a file once it is finished; kept inline, it takes no more.
    pub(crate) fn bytes(&self) -> u64 {
        self.length + self.channels.len() as u64 * 2
    }

    /// Whether it has grown too long for memory.
    pub(crate) fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let (name, file) = self.files.create_output()?;
        let (_, file) = self.file.insert((name, Arc::new(file)));
        file.write_all_at(&self.memory, 0)?;
        (self.memory, self.last) = (Vec::new(), None);
        Ok(())
    }

    /// The piece at `cursor`, which moves behind it. Nothing where there is none yet.
    pub(crate) fn read(&self, cursor: &mut Cursor) -> Result<Option<(Channel, Vec<u8>)>, StoreError> {
        while cursor.piece < self.length {
            let mut header = [0; HEADER_BYTES];
            self.read_at(&mut header, cursor.piece)?;
            let (channel, length) = parse(header);
            if cursor.read < length {
                let mut bytes = vec![0; (length - cursor.read) as usize];
                self.read_at(&mut bytes, cursor.piece + HEADER_BYTES as u64 + u64::from(cursor.read))?;
                cursor.read = length;
                return Ok(self.channels.get(usize::from(channel)).map(|written| (written.channel.clone(), bytes)));
            }
            let next = cursor.piece + HEADER_BYTES as u64 + u64::from(length);
            if next >= self.length {
                return Ok(None);
            }
            *cursor = Cursor { piece: next, read: 0 };
        }
        Ok(None)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        match &self.file {
            Some((_, file)) => Ok(file.read_exact_at(bytes, at)?),
            None => {
                let at = at as usize;
                let short = || StoreError::Corrupt("an output piece is cut short".to_owned());
                bytes.copy_from_slice(self.memory.get(at..at + bytes.len()).ok_or_else(short)?);
                Ok(())
            }
        }
    }

    /// The output as a result keeps it. A file is complete after this, but not on the disk, and still goes with the
    /// spool: see [`Files::keep_output`] and [`Spool::keep`].
    pub(crate) fn finish(&mut self) -> Result<Finished, StoreError> {
        let mut order: Vec<usize> = (0..self.channels.len()).collect();
        // `Channel` sorts as a result does: standard output, standard error, files by name.
        order.sort_by(|a, b| self.channels[*a].channel.cmp(&self.channels[*b].channel));
        let rows = order.iter().map(|at| {
            let written = &self.channels[*at];
            ChannelDigest {
                channel: written.channel.clone(),
                bytes: written.bytes,
                digest: written.hasher.clone().finish(),
            }
        });
        let outputs = OutputDigests(rows.collect());
        if let Some((name, file)) = &self.file {
            // Channels get numbers in the order of their arrival; the result's table is sorted.
            let mut table = Vec::with_capacity(order.len() * 2);
            let mut places = vec![0_u16; order.len()];
            order.iter().enumerate().for_each(|(place, at)| places[*at] = place as u16);
            places.iter().for_each(|place| table.extend_from_slice(&place.to_le_bytes()));
            file.write_all_at(&table, self.length)?;
            let file_bytes = self.bytes();
            let place = OutputPlace::File(name.clone());
            return Ok(Finished { outputs, place, inline: Vec::new(), file: Some(Arc::clone(file)), file_bytes });
        }
        let mut inline = Vec::with_capacity(self.memory.len());
        for at in order {
            pieces(&self.memory).filter(|(channel, _)| usize::from(*channel) == at).for_each(|(_, bytes)| {
                inline.extend_from_slice(bytes);
            });
        }
        Ok(Finished { outputs, place: OutputPlace::Inline, inline, file: None, file_bytes: 0 })
    }

    /// The file is a result's from here on.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

fn parse(header: [u8; HEADER_BYTES]) -> (u16, u32) {
    let [c0, c1, length @ ..] = header;
    (u16::from_le_bytes([c0, c1]), u32::from_le_bytes(length))
}

/// The pieces of a spool in memory.
fn pieces(mut memory: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = memory.split_first_chunk::<HEADER_BYTES>()?;
        let (channel, length) = parse(*header);
        let (bytes, rest) = rest.split_at_checked(length as usize)?;
        memory = rest;
        Some((channel, bytes))
    })
}

/// Reads one channel of a kept output file, piece by piece.
#[derive(Debug)]
pub(crate) struct ChannelReader {
    file: File,
    /// The number by which pieces in the file name the channel.
    number: u16,
    at: u64,
    end: u64,
}

impl ChannelReader {
    /// The channel at `place` of a result's table of `channels` rows.
    pub(crate) fn open(file: File, channels: usize, place: usize) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("an output file is cut short".to_owned());
        let end = file.metadata()?.len().checked_sub(channels as u64 * 2).ok_or_else(corrupt)?;
        let mut table = vec![0; channels * 2];
        file.read_exact_at(&mut table, end)?;
        let (pairs, _) = table.as_chunks::<2>();
        let number = pairs.iter().position(|pair| usize::from(u16::from_le_bytes(*pair)) == place);
        Ok(Self { file, number: number.ok_or_else(corrupt)? as u16, at: 0, end })
    }

    /// The next piece of the channel. Blocks.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        while self.at < self.end {
            let mut header = [0; HEADER_BYTES];
            self.file.read_exact_at(&mut header, self.at)?;
            let (channel, length) = parse(header);
            let at = self.at + HEADER_BYTES as u64;
            self.at = at + u64::from(length);
            if channel == self.number && length as usize <= limits::OUTPUT_PIECE_BYTES {
                let mut bytes = vec![0; length as usize];
                self.file.read_exact_at(&mut bytes, at)?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

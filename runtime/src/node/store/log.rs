//! The log: what was acknowledged and is not yet in the database file. A piece of it is one write and one `fsync`, a third
//! of what a durable commit of the database costs; so commits are durable only now and then, and the log bridges the time
//! between.
//!
//! A piece holds the changes of one batch: its length, a digest of what follows, the number of the log, and each change as
//! its length, its encoding and its raw bytes. The database says which number is in force: a durable commit puts another
//! one there, and with that all pieces are void. A piece that is cut short was never acknowledged.
//!
//! The file keeps its length, for to lengthen one is a second write at each `fsync`; pieces of old logs are written over. A
//! job's output is in them too, and might look like a piece: a number is random, so that nobody can foretell it.

use super::{Op, StoreError, record};
use denali_protocol::digest::Digest;
use redb::StorageBackend;
use ring::rand::{SecureRandom, SystemRandom};

/// From this length on, in bytes, the next batch is committed durably, and a new log begun.
const FULL_BYTES: u64 = 4 * 1024 * 1024;

/// Length (u32, little-endian) and digest.
const HEADER_BYTES: usize = 4 + 32;

/// The file of the log.
pub(super) struct Log {
    file: Box<dyn StorageBackend>,
    number: u64,
    length: u64,
    /// Nothing is appended to it any more.
    closed: bool,
}

/// What was acknowledged of a log: its number and length.
pub(super) type Acknowledged = (u64, u64);

impl Log {
    /// The log in `file`, of which `number` is in force, and the changes in it. After an I/O error, `acknowledged` says how
    /// far it goes: behind that may be a piece that was refused, and read here all the same though it never gets to the disk.
    /// So nothing is appended either.
    pub(super) fn open(
        file: Box<dyn StorageBackend>,
        number: u64,
        acknowledged: Option<Acknowledged>,
    ) -> Result<(Self, Vec<Op>), StoreError> {
        let most = acknowledged.filter(|known| known.0 == number).map_or(u64::MAX, |known| known.1);
        let mut log = Self { file, number, length: 0, closed: acknowledged.is_some() };
        let mut ops = Vec::new();
        while log.length < most
            && let Some((piece, bytes)) = log.piece(log.length)?
        {
            ops.extend(piece);
            log.length += bytes;
        }
        // On a full disk it goes without.
        if let Err(error) = log.lengthen() {
            tracing::warn!("cannot lengthen the store's log: {error}");
        }
        Ok((log, ops))
    }

    /// Makes the file as long as it will be.
    fn lengthen(&self) -> Result<(), StoreError> {
        let length = self.file.len()?;
        if length < FULL_BYTES {
            self.file.write(length, &vec![0; (FULL_BYTES - length) as usize])?;
        }
        Ok(())
    }

    /// The changes of the piece at `at`, and its length with the header; nothing where no whole piece of this log is.
    fn piece(&self, at: u64) -> Result<Option<(Vec<Op>, u64)>, StoreError> {
        let left = self.file.len()?.saturating_sub(at);
        let mut header = [0; HEADER_BYTES];
        if left < HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.file.read(at, &mut header)?;
        let [l0, l1, l2, l3, digest @ ..] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if u64::from(length) > left - HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        self.file.read(at + HEADER_BYTES as u64, &mut body)?;
        let Some(changes) = body.strip_prefix(&self.number.to_le_bytes()) else { return Ok(None) };
        if Digest::of(&body).0 != digest {
            return Ok(None);
        }
        Ok(Some((parse(changes)?, HEADER_BYTES as u64 + u64::from(length))))
    }

    /// Whether the next batch has to be committed durably.
    pub(super) fn is_full(&self) -> bool {
        self.closed || self.length >= FULL_BYTES
    }

    /// What was acknowledged of it.
    pub(super) fn acknowledged(&self) -> Acknowledged {
        (self.number, self.length)
    }

    /// Whether no change is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts the changes of a batch on the disk. After an error the log has to be opened again.
    pub(super) fn append<'a>(&mut self, ops: impl Iterator<Item = &'a Op>) -> Result<(), StoreError> {
        let mut piece = vec![0; HEADER_BYTES];
        piece.extend_from_slice(&self.number.to_le_bytes());
        for op in ops {
            let change = record::encode(op, op.raw())?;
            piece.extend_from_slice(&(change.len() as u32).to_le_bytes());
            piece.extend_from_slice(&change);
        }
        let (header, body) = piece.split_at_mut(HEADER_BYTES);
        let (length, digest) = header.split_at_mut(4);
        length.copy_from_slice(&(body.len() as u32).to_le_bytes());
        digest.copy_from_slice(&Digest::of(body).0);
        self.file.write(self.length, &piece)?;
        self.file.sync_data()?;
        self.length += piece.len() as u64;
        Ok(())
    }

    /// A number for the next log.
    pub(super) fn next_number() -> Result<u64, StoreError> {
        let mut number = [0; 8];
        let filled = SystemRandom::new().fill(&mut number);
        filled.map_err(|_| StoreError::Io("the system gave no random bytes".to_owned()))?;
        Ok(u64::from_le_bytes(number))
    }

    /// Begins the log of this number, which is in force: what was in the last one is in the database.
    pub(super) fn begin(&mut self, number: u64) {
        let longer = self.length > 2 * FULL_BYTES;
        (self.number, self.length, self.closed) = (number, 0, false);
        // Only to give back the room.
        if longer && let Err(error) = self.file.set_len(FULL_BYTES) {
            tracing::warn!("cannot shorten the store's log: {error}");
        }
    }
}

/// The changes in a piece that is whole.
fn parse(mut bytes: &[u8]) -> Result<Vec<Op>, StoreError> {
    let corrupt = || StoreError::Corrupt("a change in its log is cut short".to_owned());
    let mut ops = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let (change, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(corrupt)?;
        let (op, raw) = record::decode::<Op>(change)?;
        ops.push(op.with_raw(raw.to_vec()));
        bytes = rest;
    }
    Ok(ops)
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;

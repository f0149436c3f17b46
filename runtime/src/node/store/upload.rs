//! Files as they arrive: hashed piece by piece, named when they are whole and on the disk.

use super::{
    StoreError,
    files::{Files, Kind},
};
use denali_protocol::digest::{Digest, Hasher};
use std::{fs::File, io::Write, sync::Arc};

/// Why received bytes are not the file they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The client is at fault.
    #[error("the {kind} received has digest {actual}, announced was {expected}")]
    Digest {
        /// `bundle` or `input`.
        kind: &'static str,
        /// What was announced.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// The disk is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A file in the making. Dropped before its end, it leaves nothing behind.
pub(crate) struct Upload {
    files: Arc<Files>,
    kind: Kind,
    digest: Digest,
    file: tempfile::NamedTempFile,
    hasher: Hasher,
    room: Room,
}

/// Room in the store for a file that has no name yet. Given back when dropped.
pub(super) struct Room {
    files: Arc<Files>,
    bytes: u64,
}

impl Room {
    fn grow(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.files.take_room(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// The file has its name, and counts from here on for itself: gives its length.
    pub(super) fn hand_over(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.files.give_room(self.bytes);
    }
}

impl Upload {
    pub(super) fn new(files: Arc<Files>, kind: Kind, digest: Digest, file: tempfile::NamedTempFile) -> Self {
        let room = Room { files: Arc::clone(&files), bytes: 0 };
        Self { files, kind, digest, file, hasher: Hasher::default(), room }
    }

    /// Adds bytes, where the store has room for them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.room.grow(bytes.len() as u64)?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Another handle on what there is so far.
    pub(crate) fn reopen(&self) -> Result<File, StoreError> {
        Ok(self.file.reopen()?)
    }

    /// Checks the digest. Apart from [`Upload::keep`], so that the content can be looked at in between.
    pub(crate) fn check(&self) -> Result<(), UploadError> {
        let actual = self.hasher.clone().finish();
        let kind = match self.kind {
            Kind::Bundle => "bundle",
            Kind::Input => "input",
        };
        if actual == self.digest { Ok(()) } else { Err(UploadError::Digest { kind, expected: self.digest, actual }) }
    }

    /// Puts the file on the disk, under its digest. Blocks.
    pub(crate) fn keep(self) -> Result<(), UploadError> {
        self.check()?;
        Ok(self.files.adopt(self.kind, self.digest, self.file, self.room)?)
    }
}

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
    bytes: u64,
}

impl Upload {
    pub(super) fn new(files: Arc<Files>, kind: Kind, digest: Digest, file: tempfile::NamedTempFile) -> Self {
        Self { files, kind, digest, file, hasher: Hasher::default(), bytes: 0 }
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
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
        Ok(self.files.adopt(self.kind, self.digest, self.file, self.bytes)?)
    }
}

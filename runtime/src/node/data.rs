//! The data directory of a node: its lock, its key, where things are.

use crate::key_file::{self, KeyFileError};
use denali_protocol::identity::KeyPair;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Why a data directory cannot be used. The operator is at fault, or the host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// Another node has it.
    #[error("another node runs on data directory {}; give this one its own with --data", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be made or read.
    #[error("data directory {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The node's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// A data directory that this process alone uses.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// Locked while it is open. The kernel unlocks it however the process ends.
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if it is missing, and takes it.
    ///
    /// # Errors
    /// [`DataError::Locked`] when another node has it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Io { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataError::Locked { path: path.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The node's key, made now if there is none.
    pub(crate) fn key(&self) -> Result<KeyPair, KeyFileError> {
        let path = self.path.join("node.key");
        match key_file::create(&path) {
            Err(KeyFileError::Exists { .. }) => key_file::load(&path),
            made => made,
        }
    }
}

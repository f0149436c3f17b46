//! What the node knows of the bundles it holds: their manifests, read once.

use super::store::{
    StoreError,
    files::{Files, Kind},
};
use denali_protocol::{
    bundle::{Content, ContentError, Manifest},
    digest::Digest,
    limits,
};
use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Manifests kept in memory.
const MANIFESTS: usize = 1024;

/// Bundles parsed at once: each is in memory for that time.
const PARSERS: usize = 2;

/// Why a bundle's content is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is broken. Whoever packed it is at fault.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// It cannot be read. The host is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The manifests of the bundles in the store.
#[derive(Debug)]
pub(crate) struct Bundles {
    manifests: Mutex<HashMap<Digest, Arc<Manifest>>>,
    parsers: Semaphore,
}

impl Default for Bundles {
    fn default() -> Self {
        Self { manifests: Mutex::default(), parsers: Semaphore::new(PARSERS) }
    }
}

impl Bundles {
    /// The manifest of a bundle in the store; nothing where the store lacks it. A manifest is no proof that the bundle
    /// is still there, so the file is looked for each time. The caller has pinned it.
    pub(crate) async fn manifest(&self, files: &Files, digest: Digest) -> Result<Option<Arc<Manifest>>, ReadError> {
        let Some(file) = files.get(Kind::Bundle, &digest)? else { return Ok(None) };
        if let Some(manifest) = self.known(&digest) {
            return Ok(Some(manifest));
        }
        let manifest = self.read(file).await?;
        self.remember(digest, &manifest);
        Ok(Some(manifest))
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Parses the content in `file`, whose digest was checked, and forgets it again.
    pub(crate) async fn read(&self, file: File) -> Result<Arc<Manifest>, ReadError> {
        // The semaphore is never closed.
        let _turn = self.parsers.acquire().await;
        let parsed = tokio::task::spawn_blocking(move || parse(file)).await;
        Ok(Arc::new(parsed.map_err(|error| StoreError::Io(error.to_string()))??))
    }

    /// Keeps the manifest of a bundle that the store has.
    pub(crate) fn remember(&self, digest: Digest, manifest: &Arc<Manifest>) {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        if manifests.len() >= MANIFESTS {
            // Whichever comes first: reading one again costs little.
            if let Some(any) = manifests.keys().next().copied() {
                manifests.remove(&any);
            }
        }
        manifests.insert(digest, Arc::clone(manifest));
    }
}

fn parse(mut file: File) -> Result<Manifest, ReadError> {
    let mut bytes = Vec::new();
    file.rewind().map_err(StoreError::from)?;
    file.take(limits::BUNDLE_BYTES + 1).read_to_end(&mut bytes).map_err(StoreError::from)?;
    Ok(Content::parse(&bytes)?.manifest().clone())
}

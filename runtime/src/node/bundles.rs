//! What the node knows of bundles: the manifests of those it holds, read once, and which signatures hold.

use super::store::{
    StoreError,
    files::{Files, Kind},
};
use denali_protocol::{
    bundle::{BundleSignature, Content, ContentError, Manifest, SignatureError, verify_signatures_by},
    digest::{Digest, Hasher},
    identity::PublicKey,
    limits,
};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read, Seek},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Semaphore;

/// Manifests kept in memory.
const MANIFESTS: usize = 1024;

/// Signatures remembered. Checking one takes as long as all else that a small job's submission asks of the CPU.
const SIGNATURES: usize = 1024;

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

/// The manifests of the bundles in the store, and the signatures that were checked.
#[derive(Debug)]
pub(crate) struct Bundles {
    manifests: Mutex<HashMap<Digest, Arc<Manifest>>>,
    /// Signatures that hold, by the digest of all that was checked.
    signatures: Mutex<HashSet<Digest>>,
    parsers: Semaphore,
}

impl Default for Bundles {
    fn default() -> Self {
        Self { manifests: Mutex::default(), signatures: Mutex::default(), parsers: Semaphore::new(PARSERS) }
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

    /// The signers whose signature of a bundle counts at `now_unix_s`, as [`denali_protocol::bundle::verify_signatures`]
    /// says.
    pub(crate) fn signers(
        &self,
        digest: &Digest,
        signatures: &[BundleSignature],
        now_unix_s: u64,
    ) -> Result<Vec<PublicKey>, SignatureError> {
        verify_signatures_by(signatures, now_unix_s, |signature| self.holds(digest, signature))
    }

    fn signatures(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.signatures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(&self, digest: &Digest, signature: &BundleSignature) -> bool {
        let mut hasher = Hasher::default();
        hasher.update(&digest.0);
        hasher.update(&signature.signer.0);
        hasher.update(&signature.expires_unix_s.to_le_bytes());
        hasher.update(&signature.signature.to_bytes());
        let checked = hasher.finish();
        if self.signatures().contains(&checked) {
            return true;
        }
        // Not under the lock.
        let holds = signature.holds(digest);
        if holds {
            let mut signatures = self.signatures();
            if signatures.len() >= SIGNATURES {
                // They come back as they are met.
                signatures.clear();
            }
            signatures.insert(checked);
        }
        holds
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

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::identity::KeyPair;

    #[test]
    fn a_signature_that_held_is_remembered_and_no_other_one_passes_for_it() {
        let (bundles, digest, other) = (Bundles::default(), Digest([1; 32]), Digest([2; 32]));
        let (a, b) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signature = BundleSignature::sign(&digest, &a, 100);
        let signers = |digest: &Digest, signature: &BundleSignature, now_unix_s| {
            bundles.signers(digest, std::slice::from_ref(signature), now_unix_s).ok()
        };
        for _ in 0..2 {
            assert_eq!(signers(&digest, &signature, 100), Some(vec![a.public()]));
            assert_eq!(signers(&digest, &signature, 101), None);
            assert_eq!(signers(&other, &signature, 100), None);
            assert_eq!(signers(&digest, &BundleSignature { expires_unix_s: 200, ..signature.clone() }, 100), None);
            assert_eq!(signers(&digest, &BundleSignature { signer: b.public(), ..signature.clone() }, 100), None);
        }
        assert_eq!(bundles.signatures().len(), 1);
    }
}

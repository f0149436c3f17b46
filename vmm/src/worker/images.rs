//! Prepared bundles, kept for their next job.

use super::shelf::Shelf;
use crate::{
    machine::image::{Image, ImageError},
    vm::{Hardware, Template},
};
use denali_protocol::{
    bundle::{Content, ContentError},
    digest::Digest,
};
use std::{
    fs::File,
    io::{self, Read, Seek},
    sync::{Arc, Mutex, PoisonError},
};

/// Bundles kept at the most. One tenant seldom has more in work.
const KEPT: usize = 8;

/// Memory that kept templates may hold together, but for the latest. One that VMs still use lives as long as they do.
const KEPT_BYTES: u64 = 512 << 20;

/// Why a bundle gave no image.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("the bundle can't be read: {0}")]
    Read(#[from] io::Error),
    #[error("the bundle is broken: {0}")]
    Content(#[from] ContentError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl PrepareError {
    /// Whether the bundle is at fault, rather than the host.
    pub(super) fn blames_bundle(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Image(ImageError::Host(_)))
    }
}

/// The bundles in the order of their last use, the latest at the end.
#[derive(Default)]
pub(super) struct Images(Mutex<Vec<(Key, Arc<Entry>)>>);

/// A bundle, and the memory of its VMs in bytes.
type Key = (Digest, u64);

/// A bundle that is prepared, or about to be by whoever holds the lock: others wait, so that an array of jobs prepares its
/// image once; other bundles don't.
#[derive(Default)]
struct Entry(Mutex<Option<Arc<Shelf>>>);

impl Images {
    /// The shelf of the bundle with this digest for VMs of `memory_bytes`, prepared from its file if need be; and hardware
    /// that is of no more use.
    pub(super) fn get(
        &self,
        digest: Digest,
        memory_bytes: u64,
        file: File,
    ) -> Result<(Arc<Shelf>, Vec<Hardware>), PrepareError> {
        let key = (digest, memory_bytes);
        let entry = {
            let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = match images.iter().position(|(k, _)| *k == key) {
                Some(place) => images.remove(place).1,
                None => Arc::default(),
            };
            images.push((key, Arc::clone(&entry)));
            entry
        };
        let mut shelf = entry.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = &*shelf {
            return Ok((Arc::clone(shelf), Vec::new()));
        }
        match prepare(file, memory_bytes) {
            Ok(prepared) => {
                *shelf = Some(Arc::clone(&prepared));
                drop(shelf);
                Ok((prepared, self.shrink()))
            }
            Err(error) => {
                let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                images.retain(|(_, kept)| !Arc::ptr_eq(kept, &entry));
                Err(error)
            }
        }
    }

    /// Forgets the bundles that were not used for longest, where there are too many.
    fn shrink(&self) -> Vec<Hardware> {
        let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut useless = Vec::new();
        while images.len() > KEPT || (images.len() > 1 && held(&images) > KEPT_BYTES) {
            let (_, entry) = images.remove(0);
            if let Ok(shelf) = entry.0.try_lock() {
                useless.extend(shelf.iter().flat_map(|shelf| shelf.clear()));
            }
        }
        useless
    }
}

/// Bytes that the templates hold. One that is being prepared counts once it is.
fn held(images: &[(Key, Arc<Entry>)]) -> u64 {
    let bytes = |entry: &Entry| entry.0.try_lock().ok().and_then(|shelf| shelf.as_ref().map(|shelf| shelf.bytes()));
    images.iter().filter_map(|(_, entry)| bytes(entry)).sum()
}

fn prepare(file: File, memory_bytes: u64) -> Result<Arc<Shelf>, PrepareError> {
    let bytes = read(file)?;
    let image = Image::prepare(&Content::parse(&bytes)?, memory_bytes)?;
    Ok(Arc::new(Shelf::new(Template::cold(image)?)))
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

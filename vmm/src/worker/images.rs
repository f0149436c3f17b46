//! Prepared images, kept for the next job of the same bundle.

use crate::machine::image::{Image, ImageError};
use denali_protocol::{
    bundle::{Content, ContentError},
    digest::Digest,
};
use std::{
    fs::File,
    io::{self, Read, Seek},
    sync::{Arc, Mutex, PoisonError},
};

/// Images kept at the most. One tenant seldom has more bundles in work.
const KEPT: usize = 8;

/// Memory that kept images may hold together, but for the latest. One that VMs still use lives as long as they do.
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

/// The images in the order of their last use, the latest at the end.
#[derive(Default)]
pub(super) struct Images(Mutex<Vec<(Key, Arc<Image>)>>);

/// A bundle, and the memory of its VMs in bytes.
type Key = (Digest, u64);

impl Images {
    /// The image of the bundle with this digest for VMs of `memory_bytes`, prepared from its file if need be. The lock is
    /// held meanwhile, so that an array of jobs prepares its image once.
    pub(super) fn get(&self, digest: Digest, memory_bytes: u64, file: File) -> Result<Arc<Image>, PrepareError> {
        let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (digest, memory_bytes);
        let image = match images.iter().position(|(k, _)| *k == key) {
            Some(place) => images.remove(place).1,
            None => {
                let bytes = read(file)?;
                Arc::new(Image::prepare(&Content::parse(&bytes)?, memory_bytes)?)
            }
        };
        images.push((key, Arc::clone(&image)));
        while images.len() > KEPT || (images.len() > 1 && held(&images) > KEPT_BYTES) {
            images.remove(0);
        }
        Ok(image)
    }
}

fn held(images: &[(Key, Arc<Image>)]) -> u64 {
    images.iter().map(|(_, image)| image.bytes()).sum()
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

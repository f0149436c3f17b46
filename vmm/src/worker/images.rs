//! Prepared bundles, kept for their next job.

use super::shelf::{Kept, Shelf, Spare};
use crate::{
    machine::image::{Image, ImageError},
    vm::Template,
};
use denali_protocol::{
    bundle::{Content, ContentError},
    digest::Digest,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
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

/// The bundles that are prepared, and what their shelves keep.
#[derive(Default)]
pub(super) struct Images {
    /// In the order of their last use, the latest at the end.
    entries: Mutex<Vec<(Key, Arc<Entry>)>>,
    /// Forgotten, but perhaps used by VMs still: the last one to use it might not be able to destroy it.
    retired: Mutex<Vec<Arc<Shelf>>>,
    kept: Kept,
}

/// A bundle, and the memory of its VMs in bytes.
type Key = (Digest, u64);

/// A bundle that is prepared, or can't be, or is about to be by whoever asked first. Others that ask for this one wait for
/// what comes of it, so that an array of jobs prepares its image once, or finds out once that it can't.
type Entry = OnceLock<Result<Arc<Shelf>, Arc<PrepareError>>>;

impl Images {
    /// The memory that shelves take.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    fn entries(&self) -> MutexGuard<'_, Vec<(Key, Arc<Entry>)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shelf of the bundle with this digest for VMs of `memory_bytes`, prepared from its file if need be; and hardware
    /// that is of no more use.
    pub(super) fn get(
        &self,
        digest: Digest,
        memory_bytes: u64,
        file: File,
    ) -> Result<(Arc<Shelf>, Vec<Spare>), Arc<PrepareError>> {
        let key = (digest, memory_bytes);
        let entry = {
            let mut entries = self.entries();
            let entry = match entries.iter().position(|(k, _)| *k == key) {
                Some(place) => entries.remove(place).1,
                None => Arc::default(),
            };
            entries.push((key, Arc::clone(&entry)));
            entry
        };
        let mut first = false;
        let made = entry.get_or_init(|| {
            first = true;
            prepare(file, memory_bytes, &self.kept).map_err(Arc::new)
        });
        match made {
            Ok(shelf) => Ok((Arc::clone(shelf), if first { self.shrink(&entry) } else { Vec::new() })),
            Err(error) => {
                // Whoever asks from now on tries again.
                self.entries().retain(|(_, held)| !Arc::ptr_eq(held, &entry));
                Err(Arc::clone(error))
            }
        }
    }

    /// The shelf of a bundle that is prepared.
    pub(super) fn find(&self, digest: Digest, memory_bytes: u64) -> Option<Arc<Shelf>> {
        let mut entries = self.entries();
        let place = entries.iter().position(|(key, _)| *key == (digest, memory_bytes))?;
        let found = Arc::clone(shelf(&entries[place].1)?);
        let latest = entries.remove(place);
        entries.push(latest);
        Some(found)
    }

    /// Destroys what was forgotten and is used no more.
    pub(super) fn sweep(&self) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = retired.extract_if(.., |shelf| Arc::strong_count(shelf) == 1).collect::<Vec<_>>();
        drop(retired);
        drop(unused);
    }

    /// Forgets the bundles that were not used for longest, where there are too many; `latest` is one that came.
    fn shrink(&self, latest: &Arc<Entry>) -> Vec<Spare> {
        let mut entries = self.entries();
        let mut forgotten = Vec::new();
        while entries.len() > KEPT || (entries.len() > 1 && held(&entries) > KEPT_BYTES) {
            forgotten.push(entries.remove(0).1);
        }
        if !entries.iter().any(|(_, entry)| Arc::ptr_eq(entry, latest)) {
            // Forgotten before it was there.
            forgotten.push(Arc::clone(latest));
        }
        let shelves = forgotten.iter().filter_map(|entry| shelf(entry));
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(shelves.clone().map(Arc::clone));
        shelves.flat_map(|shelf| shelf.retire()).collect()
    }

    /// One piece of hardware that is kept, of the bundle that was not used for longest, to be destroyed.
    pub(super) fn release(&self) -> Option<Spare> {
        self.entries().iter().filter_map(|(_, entry)| shelf(entry)).find_map(|shelf| shelf.release())
    }
}

fn shelf(entry: &Entry) -> Option<&Arc<Shelf>> {
    entry.get()?.as_ref().ok()
}

/// Bytes that the templates hold. One that is being prepared counts once it is.
fn held(entries: &[(Key, Arc<Entry>)]) -> u64 {
    entries.iter().filter_map(|(_, entry)| shelf(entry)).map(|shelf| shelf.bytes()).sum()
}

fn prepare(file: File, memory_bytes: u64, kept: &Kept) -> Result<Arc<Shelf>, PrepareError> {
    let bytes = read(file)?;
    let image = Image::prepare(&Content::parse(&bytes)?, memory_bytes)?;
    Ok(Arc::new(Shelf::new(Template::cold(image)?, kept.clone())))
}

#[expect(clippy::needless_pass_by_value, reason = "it is closed")]
fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

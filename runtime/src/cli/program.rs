//! The program that a command is given: a bundle, an ELF image for the Denali VM, or a program for Linux; the latter two
//! are packed in memory. Told apart by what the file says of itself.

mod needs;
mod packing;

pub(crate) use needs::{Extras, Needs};
pub(crate) use packing::{pack, pack_elf};

use super::failure::{Hint, fail};
use anyhow::Context;
use denali_protocol::{
    bundle::{self, Bundle, BundleError, BundleSignature, ContentError, Manifest},
    digest::Digest,
    limits,
};
use packing::{ELF_MAGIC, SCRIPT_MAGIC};
use std::{fs::File, io::Read, path::Path};

/// A bundle in memory.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Digest of the content.
    pub(crate) digest: Digest,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// The signatures beside it; none for a bare image.
    pub(crate) signatures: Vec<BundleSignature>,
}

impl Program {
    /// Reads a bundle or a program. `needs` are for the latter: they do not change a bundle, but `extras` do.
    pub(crate) fn read(path: &Path, needs: &Needs, extras: &Extras) -> anyhow::Result<Self> {
        let file = read_file(path)?;
        if file.starts_with(ELF_MAGIC) || file.starts_with(SCRIPT_MAGIC) || !extras.is_empty() {
            let content = pack(&file, path, None, needs, extras).with_context(|| format!("{}", path.display()))?;
            return Self::from_content(content, Vec::new());
        }
        Self::parse(&file).with_context(|| format!("{}", path.display()))
    }

    /// The bundle in the bytes of a bundle file.
    pub(crate) fn parse(file: &[u8]) -> anyhow::Result<Self> {
        let bundle = match Bundle::parse(file) {
            Err(error @ BundleError::Content(ContentError::NotABundle)) => {
                Err(error).hint("give a bundle or, to run, submit or pack it, an ELF program for x86-64")?
            }
            parsed => parsed?,
        };
        Self::from_content(bundle.content().bytes().to_vec(), bundle.signatures().to_vec())
    }

    /// The bundle of this content.
    pub(crate) fn from_content(content: Vec<u8>, signatures: Vec<BundleSignature>) -> anyhow::Result<Self> {
        let parsed = bundle::Content::parse(&content)?;
        let (digest, manifest) = (parsed.digest(), parsed.manifest().clone());
        Ok(Self { content, digest, manifest, signatures })
    }
}

/// Reads a whole file, if it is no larger than a bundle file may be.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(limits::BUNDLE_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > limits::BUNDLE_FILE_BYTES {
        return fail(
            format!("{} is larger than a bundle may be ({} bytes)", path.display(), limits::BUNDLE_FILE_BYTES),
            "give large data to a job as its input",
        );
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;

//! Packing: from a program and files to the content of a bundle, always the same bytes for the same input.

use super::{CpuModel, FileEntry, MAGIC, Manifest, ManifestError};
use crate::{
    codec::{self, EncodeError},
    limits::{BUNDLE_BYTES, MANIFEST_BYTES},
};

/// What to pack.
#[derive(Clone, Copy, Debug)]
pub struct PackRequest<'a> {
    /// A name for people.
    pub name: &'a str,
    /// The CPU that the program needs.
    pub cpu: CpuModel,
    /// Memory of its VM, in bytes; a multiple of 4096 within [`crate::limits::MEMORY_BYTES`].
    pub memory_bytes: u64,
    /// CPU time that one job may use, in microseconds.
    pub cpu_time_us: u64,
    /// Wall time that one job may take, in microseconds.
    pub wall_time_us: u64,
    /// The program image.
    pub program: &'a [u8],
    /// Files, name and bytes, in any order.
    pub files: &'a [(String, Vec<u8>)],
}

/// Why a request cannot be packed. The caller is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PackError {
    /// The request breaks a rule.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest would be too long.
    #[error("the manifest's {0}; pack fewer files or shorter names")]
    Encode(#[from] EncodeError),
    /// The content would be too large.
    #[error("the content takes {bytes} bytes, more than the limit of {BUNDLE_BYTES}; send data as input instead")]
    TooLarge {
        /// Bytes it would take; `u64::MAX` where they overflow.
        bytes: u64,
    },
}

/// Packs the content of a bundle. [`super::assemble`] makes a file of it.
///
/// # Errors
/// [`PackError`] for what [`super::Content::parse`] would refuse.
pub fn pack(request: &PackRequest<'_>) -> Result<Vec<u8>, PackError> {
    let mut files: Vec<_> = request.files.iter().collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let manifest = Manifest {
        name: request.name.to_owned(),
        cpu: request.cpu,
        memory_bytes: request.memory_bytes,
        cpu_time_us: request.cpu_time_us,
        wall_time_us: request.wall_time_us,
        program_bytes: request.program.len() as u64,
        files: files.iter().map(|(name, file)| FileEntry { name: name.clone(), bytes: file.len() as u64 }).collect(),
    };
    manifest.check()?;
    let encoded = codec::encode(&manifest, MANIFEST_BYTES)?;
    let head_bytes = (MAGIC.len() + 4 + encoded.len()) as u64;
    let total_bytes = manifest.payload_bytes().map_or(u64::MAX, |payload| payload.saturating_add(head_bytes));
    if total_bytes > BUNDLE_BYTES {
        return Err(PackError::TooLarge { bytes: total_bytes });
    }

    let length = (encoded.len() as u32).to_le_bytes();
    let mut content = Vec::with_capacity(total_bytes as usize);
    for part in [MAGIC.as_slice(), &length, &encoded, request.program] {
        content.extend_from_slice(part);
    }
    for (_, file) in files {
        content.extend_from_slice(file);
    }
    Ok(content)
}

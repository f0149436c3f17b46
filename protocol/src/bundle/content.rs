//! The content of a bundle: what its digest covers. Parsed in place, from bytes that may be hostile.

use super::{MAGIC, Manifest, ManifestError};
use crate::{
    codec::{self, DecodeError},
    digest::Digest,
    limits::{BUNDLE_BYTES, MANIFEST_BYTES},
};
use std::fmt;

/// Why bytes are not the content of a bundle. Whoever made or sent them is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContentError {
    /// Another kind of file.
    #[error("not a bundle: it does not start with \"DENALIB1\"")]
    NotABundle,
    /// A later version of the format.
    #[error(
        "made by a newer denali (bundle format {version}, this one reads 1); update this one, or pack it with an older"
    )]
    Newer {
        /// The version it states.
        version: char,
    },
    /// It ends early.
    #[error("cut short: {missing} bytes of the {part} are missing; copy or pack it again")]
    Truncated {
        /// What is cut.
        part: &'static str,
        /// How many bytes of that part are missing.
        missing: u64,
    },
    /// Larger than a bundle may be, or says so.
    #[error("a content of {bytes} bytes, more than the limit of {BUNDLE_BYTES}; pack less, and send data as input")]
    TooLarge {
        /// Bytes, as there or as stated; `u64::MAX` where the stated lengths overflow.
        bytes: u64,
    },
    /// The manifest is longer than one may be.
    #[error("a manifest of {bytes} bytes, more than the limit of {MANIFEST_BYTES}; pack fewer files or shorter names")]
    ManifestTooLong {
        /// Bytes stated.
        bytes: u64,
    },
    /// The manifest is not one.
    #[error("broken manifest, {0}; pack it again")]
    Malformed(DecodeError),
    /// The manifest breaks a rule.
    #[error("refused manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// Bytes follow the last file.
    #[error("{bytes} bytes follow the end of the content; copy or pack it again")]
    Trailing {
        /// How many.
        bytes: u64,
    },
}

/// A bundle's content, checked whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Content<'a> {
    bytes: &'a [u8],
    manifest: Manifest,
    program: &'a [u8],
    files: &'a [u8],
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("bytes", &self.bytes.len()).field("manifest", &self.manifest).finish()
    }
}

impl<'a> Content<'a> {
    /// Parses a content that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`ContentError`] names what is wrong, and the limit where there is one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContentError> {
        // Before anything is read: an oversized file is not worth a look.
        if bytes.len() as u64 > BUNDLE_BYTES {
            return Err(ContentError::TooLarge { bytes: bytes.len() as u64 });
        }
        match Self::parse_prefix(bytes)? {
            (content, []) => Ok(content),
            (_, rest) => Err(ContentError::Trailing { bytes: rest.len() as u64 }),
        }
    }

    /// Parses a content that `bytes` start with, and gives what follows it.
    pub(super) fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ContentError> {
        let rest = strip_magic(bytes)?;
        let (length, rest) = take_length(rest, "manifest's length")?;
        if length > MANIFEST_BYTES as u64 {
            return Err(ContentError::ManifestTooLong { bytes: length });
        }
        let (manifest, rest) = take(rest, length, "manifest")?;
        let manifest: Manifest = codec::decode(manifest, MANIFEST_BYTES).map_err(ContentError::Malformed)?;
        manifest.check()?;

        let payload_bytes = manifest.payload_bytes().ok_or(ContentError::TooLarge { bytes: u64::MAX })?;
        let total_bytes = payload_bytes.saturating_add((bytes.len() - rest.len()) as u64);
        if total_bytes > BUNDLE_BYTES {
            return Err(ContentError::TooLarge { bytes: total_bytes });
        }
        let (payload, after) = take(rest, payload_bytes, "program and files")?;
        let (program, files) = take(payload, manifest.program_bytes, "program")?;
        let (bytes, _) = take(bytes, total_bytes, "content")?;
        Ok((Self { bytes, manifest, program, files }, after))
    }

    /// What the bundle says of itself. It has passed [`Manifest::check`].
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The program image.
    #[must_use]
    pub fn program(&self) -> &'a [u8] {
        self.program
    }

    /// The files, name and bytes, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        let mut rest = self.files;
        self.manifest.files.iter().map_while(move |entry| {
            // The lengths were checked to fill `files`, so none is missing.
            let (file, after) = take(rest, entry.bytes, "file").ok()?;
            rest = after;
            Some((entry.name.as_str(), file))
        })
    }

    /// The bundle's digest: SHA-256 over the exact content. Computed at each call.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.bytes)
    }

    /// The exact content.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Splits off a length of four bytes, little-endian.
pub(super) fn take_length<'a>(bytes: &'a [u8], part: &'static str) -> Result<(u64, &'a [u8]), ContentError> {
    let missing = 4_u64.saturating_sub(bytes.len() as u64);
    let (length, rest) = bytes.split_first_chunk().ok_or(ContentError::Truncated { part, missing })?;
    Ok((u32::from_le_bytes(*length).into(), rest))
}

/// Splits off the first `length` bytes.
pub(super) fn take<'a>(bytes: &'a [u8], length: u64, part: &'static str) -> Result<(&'a [u8], &'a [u8]), ContentError> {
    usize::try_from(length)
        .ok()
        .and_then(|length| bytes.split_at_checked(length))
        .ok_or(ContentError::Truncated { part, missing: length.saturating_sub(bytes.len() as u64) })
}

fn strip_magic(bytes: &[u8]) -> Result<&[u8], ContentError> {
    let (stem, version) = (&MAGIC[..7], MAGIC[7]);
    match bytes.strip_prefix(stem) {
        Some([actual, rest @ ..]) if *actual == version => Ok(rest),
        Some([actual, ..]) if actual.is_ascii_digit() && *actual > version => {
            Err(ContentError::Newer { version: char::from(*actual) })
        }
        _ if MAGIC.starts_with(bytes) => {
            Err(ContentError::Truncated { part: "magic", missing: (MAGIC.len() - bytes.len()) as u64 })
        }
        _ => Err(ContentError::NotABundle),
    }
}

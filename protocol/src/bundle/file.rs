//! The bundle file: content and the signatures beside it.

use super::{
    BundleSignature, Content, ContentError, SignatureError,
    content::{take, take_length},
    sign::check_signers,
};
use crate::{
    codec::{self, DecodeError, EncodeError},
    digest::Digest,
    limits::{BUNDLE_FILE_BYTES, SIGNATURES_BYTES},
};

/// Why bytes are not a bundle file. Whoever made or sent it is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    /// Larger than a bundle file may be.
    #[error("a bundle of {bytes} bytes, more than the limit of {BUNDLE_FILE_BYTES}; pack less, and send data as input")]
    TooLarge {
        /// Bytes given.
        bytes: u64,
    },
    /// The content, or what should follow it.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The list of signatures is longer than one may be.
    #[error("signatures of {bytes} bytes, more than the limit of {SIGNATURES_BYTES}; sign with fewer keys")]
    SignaturesTooLong {
        /// Bytes stated.
        bytes: u64,
    },
    /// The list of signatures is not one.
    #[error("broken list of signatures, {0}; sign it again")]
    Malformed(DecodeError),
    /// Too many signatures, or two by one signer.
    #[error(transparent)]
    Signatures(#[from] SignatureError),
    /// Bytes follow the signatures.
    #[error("{bytes} bytes follow the end of the bundle; copy or pack it again")]
    Trailing {
        /// How many.
        bytes: u64,
    },
}

/// A bundle file, parsed. Its signatures are read, but whether they hold is [`super::verify_signatures`]'s question:
/// the answer depends on the time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle<'a> {
    content: Content<'a>,
    signatures: Vec<BundleSignature>,
}

impl<'a> Bundle<'a> {
    /// Parses a bundle that fills `file` exactly.
    ///
    /// # Errors
    /// [`BundleError`] names what is wrong, and the limit where there is one.
    pub fn parse(file: &'a [u8]) -> Result<Self, BundleError> {
        if file.len() as u64 > BUNDLE_FILE_BYTES {
            return Err(BundleError::TooLarge { bytes: file.len() as u64 });
        }
        let (content, rest) = Content::parse_prefix(file)?;
        let (length, rest) = take_length(rest, "length of the signatures")?;
        if length > SIGNATURES_BYTES as u64 {
            return Err(BundleError::SignaturesTooLong { bytes: length });
        }
        let (list, rest) = take(rest, length, "signatures")?;
        if !rest.is_empty() {
            return Err(BundleError::Trailing { bytes: rest.len() as u64 });
        }
        let signatures: Vec<BundleSignature> = codec::decode(list, SIGNATURES_BYTES).map_err(BundleError::Malformed)?;
        check_signers(&signatures)?;
        Ok(Self { content, signatures })
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &Content<'a> {
        &self.content
    }

    /// The bundle's digest: that of its content. Computed at each call.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.content.digest()
    }

    /// The signatures, as they stand in the file: not verified.
    #[must_use]
    pub fn signatures(&self) -> &[BundleSignature] {
        &self.signatures
    }
}

/// Why a bundle file could not be put together. The caller is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AssembleError {
    /// The content is not one.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Too many signatures, or two by one signer.
    #[error(transparent)]
    Signatures(#[from] SignatureError),
    /// The list of signatures cannot be encoded.
    #[error("the list of signatures {0}")]
    Encode(#[from] EncodeError),
}

/// The bundle file of `content` with `signatures` beside it.
///
/// # Errors
/// [`AssembleError`] for what [`Bundle::parse`] would refuse.
pub fn assemble(content: &[u8], signatures: &[BundleSignature]) -> Result<Vec<u8>, AssembleError> {
    Content::parse(content)?;
    check_signers(signatures)?;
    let list = codec::encode(&signatures, SIGNATURES_BYTES)?;
    let length = list.len() as u32;
    Ok([content, &length.to_le_bytes(), &list].concat())
}

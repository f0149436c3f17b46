//! The bundle: one content-addressed file.
//!
//! ```text
//! file    = content | length of signatures (u32) | signatures (encoded list)
//! content = "DENALIB1" | length of manifest (u32) | manifest (encoded) | program | files, in the manifest's order
//! ```
//!
//! The digest of a bundle is SHA-256 over its exact content. Signatures stand beside the content, so signing never
//! changes the digest. Packing is deterministic: the same input gives the same bytes. Whatever parses would be packed
//! into the very same bytes again. See `docs/decisions/0004-bundle-format.md`.

mod content;
mod cpu;
mod file;
pub mod manifest;
mod pack;
pub mod path;
pub mod sign;

pub use content::{Content, ContentError};
pub use cpu::{CpuModel, ParseCpuModelError};
pub use file::{AssembleError, Bundle, BundleError, assemble};
pub use manifest::{FileEntry, Manifest, ManifestError};
pub use pack::{PackError, PackRequest, pack};
pub use sign::{BundleSignature, SignatureError, verify_signatures, verify_signatures_by};

/// What a content starts with. The last byte is the version of the format.
const MAGIC: &[u8; 8] = b"DENALIB1";

//! The bundle: one content-addressed file.
//!
//! ```text
//! file    = content | length of signatures (u32) | signatures (encoded list)
//! content = "DENALIB1" | length of manifest (u32) | manifest (encoded) | program | files, in the manifest's order
//! ```
//!
//! The digest of a bundle is SHA-256 over its exact content. Signatures stand beside the content, so signing never
//! changes the digest. Packing is deterministic: the same input gives the same bytes.

pub mod manifest;
pub mod sign;
pub use manifest::{CpuModel, FileEntry, Manifest};
pub use sign::BundleSignature;

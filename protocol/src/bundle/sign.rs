//! Signatures that stand beside a bundle's content.

use crate::identity::PublicKey;
use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};

/// A signer vouches for a bundle until a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BundleSignature {
    /// Who signed.
    pub signer: PublicKey,
    /// The last second, since 1970 (UTC), at which the signature counts; `u64::MAX` for ever.
    pub expires_unix_s: u64,
    /// Over the content's digest (32 bytes) and `expires_unix_s` (8 bytes, little-endian).
    pub signature: Signature,
}

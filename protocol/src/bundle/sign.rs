//! Signatures that stand beside a bundle's content, and the rules by which they count.

use crate::{
    digest::Digest,
    identity::{KeyPair, PublicKey, Purpose},
    limits::SIGNATURES,
};
use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};

/// A signer vouches for a bundle until a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BundleSignature {
    /// Who signed.
    pub signer: PublicKey,
    /// The last second, since 1970 (UTC), at which the signature counts; `u64::MAX` for ever.
    pub expires_unix_s: u64,
    /// Over the content's digest (32 bytes) and `expires_unix_s` (8 bytes, little-endian). 64 bytes in the file.
    #[serde(with = "signature_bytes")]
    pub signature: Signature,
}

/// The two halves of a signature as plain bytes, whatever form its own crate gives it.
mod signature_bytes {
    use super::Signature;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(signature: &Signature, serializer: S) -> Result<S::Ok, S::Error> {
        (signature.r_bytes(), signature.s_bytes()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Signature, D::Error> {
        let (r, s) = Deserialize::deserialize(deserializer)?;
        Ok(Signature::from_components(r, s))
    }
}

/// Why signatures do not vouch for a bundle.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// More than a bundle may have.
    #[error("{count} signatures, more than the limit of {SIGNATURES}; sign with fewer keys")]
    TooMany {
        /// Signatures given.
        count: usize,
    },
    /// Two by one signer.
    #[error("two signatures by {signer}; keep one")]
    Duplicate {
        /// The signer.
        signer: PublicKey,
    },
    /// It does not hold: the content, the expiry or the signature was altered, or another key signed.
    #[error(
        "the signature by {signer} does not hold: bundle or signature was altered; fetch it again, or remove the signature"
    )]
    Invalid {
        /// The signer named.
        signer: PublicKey,
    },
    /// It held until a time that has passed.
    #[error(
        "the signature by {signer} expired {} s ago, at {expires_unix_s} s since 1970; have it signed again",
        now_unix_s.saturating_sub(*expires_unix_s)
    )]
    Expired {
        /// The signer.
        signer: PublicKey,
        /// The last second at which it counted.
        expires_unix_s: u64,
        /// The time it was checked at.
        now_unix_s: u64,
    },
}

impl BundleSignature {
    /// Signs the bundle of this digest, until `expires_unix_s` (`u64::MAX` for ever).
    #[must_use]
    pub fn sign(digest: &Digest, key: &KeyPair, expires_unix_s: u64) -> Self {
        let signature = key.sign(Purpose::Bundle, &signed_bytes(digest, expires_unix_s));
        Self { signer: key.public(), expires_unix_s, signature }
    }

    /// Checks that this signature holds for the bundle of this digest, and counts at `now_unix_s`.
    ///
    /// # Errors
    /// [`SignatureError::Invalid`] or [`SignatureError::Expired`].
    pub fn verify(&self, digest: &Digest, now_unix_s: u64) -> Result<(), SignatureError> {
        self.count(self.holds(digest), now_unix_s)
    }

    /// Whether this signature holds for the bundle of this digest, at whatever time.
    #[must_use]
    pub fn holds(&self, digest: &Digest) -> bool {
        self.signer.verify(Purpose::Bundle, &signed_bytes(digest, self.expires_unix_s), &self.signature)
    }

    fn count(&self, holds: bool, now_unix_s: u64) -> Result<(), SignatureError> {
        let Self { signer, expires_unix_s, .. } = *self;
        if !holds {
            return Err(SignatureError::Invalid { signer });
        }
        if now_unix_s > expires_unix_s {
            return Err(SignatureError::Expired { signer, expires_unix_s, now_unix_s });
        }
        Ok(())
    }
}

fn signed_bytes(digest: &Digest, expires_unix_s: u64) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..32].copy_from_slice(&digest.0);
    bytes[32..].copy_from_slice(&expires_unix_s.to_le_bytes());
    bytes
}

/// The signers whose signature counts at `now_unix_s`, in the order given; none for an unsigned bundle.
///
/// An expired signature does not count, but one that does not hold refuses the whole bundle: someone tampered with it.
/// Signatures that have all expired refuse it too, for it was not meant to run unsigned.
///
/// # Errors
/// [`SignatureError`] names the signer, or the limit.
pub fn verify_signatures(
    digest: &Digest,
    signatures: &[BundleSignature],
    now_unix_s: u64,
) -> Result<Vec<PublicKey>, SignatureError> {
    verify_signatures_by(signatures, now_unix_s, |signature| signature.holds(digest))
}

/// As [`verify_signatures`], for who remembers which signatures hold: asked of each by `holds`.
///
/// # Errors
/// [`SignatureError`] names the signer, or the limit.
pub fn verify_signatures_by(
    signatures: &[BundleSignature],
    now_unix_s: u64,
    holds: impl Fn(&BundleSignature) -> bool,
) -> Result<Vec<PublicKey>, SignatureError> {
    check_signers(signatures)?;
    let mut signers = Vec::new();
    let mut expired = None;
    for signature in signatures {
        match signature.count(holds(signature), now_unix_s) {
            Ok(()) => signers.push(signature.signer),
            Err(error @ SignatureError::Expired { .. }) => expired = expired.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match expired {
        Some(error) if signers.is_empty() => Err(error),
        _ => Ok(signers),
    }
}

/// Refuses too many signatures, and two by one signer.
pub(super) fn check_signers(signatures: &[BundleSignature]) -> Result<(), SignatureError> {
    if signatures.len() > SIGNATURES {
        return Err(SignatureError::TooMany { count: signatures.len() });
    }
    for (index, BundleSignature { signer, .. }) in signatures.iter().enumerate() {
        if signatures[..index].iter().any(|earlier| earlier.signer == *signer) {
            return Err(SignatureError::Duplicate { signer: *signer });
        }
    }
    Ok(())
}

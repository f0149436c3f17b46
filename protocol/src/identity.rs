//! Who someone is: an ed25519 key. Nodes, clients and bundle signers are all named by their public key.

use crate::digest::{ParseHexError, parse_hex32};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A public key. Shown and parsed as 64 lower-case hexadecimal digits.
///
/// Holding one does not mean that it is a valid curve point: [`PublicKey::verify`] finds out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self)
    }
}

impl PublicKey {
    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..6])
    }

    /// Whether `signature` was made by this key over `message` for `purpose`. Strict: small-order keys and
    /// non-canonical signatures are refused.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(&purpose.bind(message), signature).is_ok())
    }
}

/// What a signature is for. It is part of what is signed, so that none can be passed off as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A signer vouches for a bundle until a time.
    Bundle,
    /// A node states what it ran.
    Receipt,
}

impl Purpose {
    fn bind(self, message: &[u8]) -> Vec<u8> {
        let prefix: &[u8] = match self {
            Self::Bundle => b"denali bundle signature 1\0",
            Self::Receipt => b"denali receipt signature 1\0",
        };
        [prefix, message].concat()
    }
}

/// A secret key with its public half. Its `Debug` shows the public half alone.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public())
    }
}

impl KeyPair {
    /// The key pair of a 32-byte secret seed (RFC 8032).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret seed, to be stored where only its owner reads.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` for `purpose`.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> Signature {
        self.0.sign(&purpose.bind(message))
    }
}

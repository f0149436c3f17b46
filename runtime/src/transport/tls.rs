//! Identities for TLS 1.3: ed25519 raw public keys (RFC 7250, RFC 8410), no X.509.
//!
//! Rustls asks a verifier two things: whether the peer's key is welcome, and whether the peer has its secret half. The
//! second is answered by rustls itself; the first is all of this module.

use denali_protocol::identity::{KeyPair, PublicKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::CertifiedKey,
};
use std::sync::{Arc, OnceLock};

/// An ed25519 `SubjectPublicKeyInfo` without its last 32 bytes, the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An ed25519 PKCS#8 private key without its last 32 bytes, the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The cryptography that both ends use.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// `key` in the form in which rustls presents it to a peer.
pub(super) fn certified(key: &KeyPair) -> Result<Arc<CertifiedKey>, Error> {
    let private = PrivatePkcs8KeyDer::from([PKCS8_PREFIX.as_slice(), &key.seed()].concat());
    let signer = rustls::crypto::ring::sign::any_eddsa_type(&private)?;
    let public = CertificateDer::from([SPKI_PREFIX.as_slice(), &key.public().0].concat());
    Ok(Arc::new(CertifiedKey::new(vec![public], signer)))
}

/// The key in a `SubjectPublicKeyInfo`, if it is a sound ed25519 key. Small-order keys are not: anyone can sign for them.
pub(super) fn sound_key(spki: &[u8]) -> Option<PublicKey> {
    let bytes: [u8; 32] = spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
    let point = ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok()?;
    (!point.is_weak()).then_some(PublicKey(bytes))
}

const BAD_KEY: Error = Error::InvalidCertificate(CertificateError::BadEncoding);

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, &algorithms())
}

/// A node showed another key than the client expects.
#[derive(Debug, thiserror::Error)]
#[error("expected node {expected}, met {met}")]
pub(super) struct WrongNode {
    expected: PublicKey,
    met: PublicKey,
}

/// The client's question: is this the node I named? Remembers the key of a wrong one, for the error.
#[derive(Debug)]
pub(super) struct PinnedNode {
    /// The key that the client expects.
    pub(super) expected: PublicKey,
    /// The key that the node showed, where it is another.
    pub(super) met: Arc<OnceLock<PublicKey>>,
}

impl ServerCertVerifier for PinnedNode {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let met = sound_key(key).ok_or(BAD_KEY)?;
        if met == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongNode { expected: self.expected, met: *self.met.get_or_init(|| met) };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong)))))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The node's question: who is this client? Any sound key will do; the policy decides later.
#[derive(Debug)]
pub(super) struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        sound_key(key).map(|_| ClientCertVerified::assertion()).ok_or(BAD_KEY)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

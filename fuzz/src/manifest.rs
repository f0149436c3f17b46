//! A manifest alone, and the content that it would head.

use crate::bundle::check_manifest;
use denali_protocol::{
    bundle::{Content, ContentError, Manifest},
    codec, limits,
};

/// Most bytes of program and files that are made for a manifest.
const PAYLOAD_BYTES: u64 = 4096;

/// Decodes `data` as a manifest. One that passes its check keeps the rules, has these bytes for its encoding, and heads a content that is
/// refused where a byte is missing or one too many is there.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = codec::decode::<Manifest>(data, limits::MANIFEST_BYTES) else { return };
    assert_eq!(codec::encode(&manifest, limits::MANIFEST_BYTES).as_deref(), Ok(data));
    let mut content = [&b"DENALIB1"[..], &(data.len() as u32).to_le_bytes(), data].concat();
    if let Err(error) = manifest.check() {
        assert_ne!(error.to_string(), "");
        return assert_eq!(Content::parse(&content), Err(ContentError::Manifest(error)));
    }
    let payload = manifest.payload_bytes();
    let Some(payload) = payload.filter(|bytes| *bytes <= PAYLOAD_BYTES) else {
        return assert!(Content::parse(&content).is_err());
    };
    check_manifest(&manifest);
    content.resize(content.len() + payload as usize, 0x5a);
    assert_eq!(Content::parse(&content).map(|content| content.files().count()), Ok(manifest.files.len()));
    assert!(matches!(Content::parse(&content[..content.len() - 1]), Err(ContentError::Truncated { missing: 1, .. })));
    content.push(0);
    assert_eq!(Content::parse(&content), Err(ContentError::Trailing { bytes: 1 }));
}

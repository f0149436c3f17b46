//! Bundle files and contents, as a stranger might send them.

use denali_protocol::{
    bundle::{self, Bundle, Content, Manifest, PackRequest, verify_signatures},
    digest::Digest,
    limits,
};
use std::collections::BTreeSet;

/// The second at which signatures are checked. Any would do.
const NOW_UNIX_S: u64 = 1_700_000_000;

/// Parses `data` as a bundle file and as a content. What is accepted obeys every limit, fills its bytes exactly, and
/// packs into the same bytes again.
pub fn bundle(data: &[u8]) {
    if let Ok(bundle) = Bundle::parse(data) {
        let content = bundle.content();
        check_content(content);
        assert_eq!(bundle.digest(), Digest::of(content.bytes()));
        assert_eq!(bundle::assemble(content.bytes(), bundle.signatures()).as_deref(), Ok(data));
        check_signatures(&bundle);
    }
    if let Ok(content) = Content::parse(data) {
        assert_eq!(content.bytes(), data);
        check_content(&content);
    }
}

fn check_signatures(bundle: &Bundle<'_>) {
    let signatures = bundle.signatures();
    assert!(signatures.len() <= limits::SIGNATURES);
    if let Ok(signers) = verify_signatures(&bundle.digest(), signatures, NOW_UNIX_S) {
        assert_eq!(signers.is_empty(), signatures.is_empty());
        let distinct: BTreeSet<_> = signers.iter().collect();
        assert_eq!(distinct.len(), signers.len());
    }
}

fn check_content(content: &Content<'_>) {
    let manifest = content.manifest();
    check_manifest(manifest);
    let files: Vec<_> = content.files().map(|(name, file)| (name.to_owned(), file.to_vec())).collect();
    assert_eq!(files.len(), manifest.files.len());
    let request = PackRequest {
        name: &manifest.name,
        cpu: manifest.cpu,
        memory_bytes: manifest.memory_bytes,
        cpu_time_us: manifest.cpu_time_us,
        wall_time_us: manifest.wall_time_us,
        program: content.program(),
        files: &files,
    };
    assert_eq!(bundle::pack(&request).as_deref(), Ok(content.bytes()));
}

/// The rules once more, in other words than the parser's.
pub(crate) fn check_manifest(manifest: &Manifest) {
    assert!((1..=limits::NAME_BYTES).contains(&manifest.name.len()));
    assert!(!manifest.name.contains(char::is_control));
    assert!(limits::MEMORY_BYTES.contains(&manifest.memory_bytes));
    assert_eq!(manifest.memory_bytes & 0xfff, 0);
    for time_us in [manifest.cpu_time_us, manifest.wall_time_us] {
        assert!(0 < time_us && time_us <= limits::TIME_US);
    }
    assert!(manifest.program_bytes > 0);
    let bytes: u128 = manifest.files.iter().map(|file| u128::from(file.bytes)).sum();
    assert!(bytes + u128::from(manifest.program_bytes) <= u128::from(limits::BUNDLE_BYTES));

    let mut tree = BTreeSet::new();
    assert!(manifest.files.len() <= limits::FILES);
    for file in &manifest.files {
        assert!(file.name.len() <= limits::NAME_BYTES);
        assert!(!file.name.contains(|c: char| c.is_control() || c == '\\'));
        assert!(file.name.split('/').all(|part| !["", ".", ".."].contains(&part)));
        assert!(tree.last().is_none_or(|last| *last < file.name.as_str()));
        tree.insert(file.name.as_str());
    }
    for file in &tree {
        let below = format!("{file}/");
        assert!(!tree.iter().any(|other| other.starts_with(&below)));
    }
}

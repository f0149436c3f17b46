//! What a hostile bundle can hold, and the fault that its refusal names.

mod any;

use any::content;
use denali_protocol::{
    bundle::{
        self, Bundle, BundleError, Content, ContentError, CpuModel, FileEntry, Manifest, ManifestError,
        path::{LabelError, PathError},
    },
    codec::{self, DecodeError},
    job::Clock,
    limits::{BUNDLE_BYTES, BUNDLE_FILE_BYTES, FILES, MANIFEST_BYTES, MEMORY_BYTES, SIGNATURES_BYTES, TIME_US},
};

fn manifest() -> Manifest {
    Manifest {
        name: "m".to_owned(),
        cpu: CpuModel::V2,
        memory_bytes: 4 << 20,
        cpu_time_us: 1,
        wall_time_us: 1,
        program_bytes: 1,
        files: vec![],
    }
}

fn with_files(names: &[&str]) -> Manifest {
    let files = names.iter().map(|name| FileEntry { name: (*name).to_owned(), bytes: 0 });
    Manifest { files: files.collect(), ..manifest() }
}

/// A content of `manifest` with a program of one byte, whatever the manifest says.
fn packed(manifest: &Manifest) -> Vec<u8> {
    let encoded = codec::encode(manifest, MANIFEST_BYTES).expect("a short manifest");
    [b"DENALIB1".as_slice(), &(encoded.len() as u32).to_le_bytes(), &encoded, b"p"].concat()
}

fn refused(manifest: &Manifest) -> ContentError {
    Content::parse(&packed(manifest)).expect_err("a broken manifest")
}

fn rule_broken(manifest: &Manifest) -> ManifestError {
    match refused(manifest) {
        ContentError::Manifest(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sample_without_a_fault_is_accepted() {
    assert_eq!(Content::parse(&packed(&manifest())).unwrap().manifest(), &manifest());
}

#[test]
fn another_magic() {
    let replaced = |magic: &[u8; 8]| {
        let mut content = content();
        content[..8].copy_from_slice(magic);
        Content::parse(&content).unwrap_err()
    };
    assert_eq!(replaced(b"\x7fELF\x02\x01\x01\0"), ContentError::NotABundle);
    assert_eq!(replaced(b"DENALIR1"), ContentError::NotABundle);
    assert_eq!(replaced(b"DENALIB0"), ContentError::NotABundle);
    assert_eq!(replaced(b"DENALIB2"), ContentError::Newer { version: '2' });
    assert!(replaced(b"DENALIB2").to_string().contains("made by a newer denali"));
    assert_eq!(Content::parse(b"ELF"), Err(ContentError::NotABundle));
    assert_eq!(Content::parse(b"DENALI"), Err(ContentError::Truncated { part: "magic", missing: 2 }));
}

#[test]
fn too_large() {
    // Zeroed memory that is never touched costs nothing.
    let zeroes = vec![0; BUNDLE_FILE_BYTES as usize + 1];
    assert_eq!(Bundle::parse(&zeroes), Err(BundleError::TooLarge { bytes: BUNDLE_FILE_BYTES + 1 }));
    let content = &zeroes[..BUNDLE_BYTES as usize + 1];
    assert_eq!(Content::parse(content), Err(ContentError::TooLarge { bytes: BUNDLE_BYTES + 1 }));
}

#[test]
fn lengths_that_claim_too_much() {
    let head_bytes = packed(&manifest()).len() as u64 - 1;
    let program = |program_bytes| refused(&Manifest { program_bytes, ..manifest() });
    let most = BUNDLE_BYTES - head_bytes;
    assert_eq!(program(most), ContentError::Truncated { part: "program and files", missing: most - 1 });
    assert_eq!(program(most + 1), ContentError::TooLarge { bytes: BUNDLE_BYTES + 1 });
    assert_eq!(program(u64::MAX), ContentError::TooLarge { bytes: u64::MAX });

    let mut overflowing = with_files(&["a", "b"]);
    overflowing.files[0].bytes = u64::MAX - 1;
    overflowing.files[1].bytes = 1;
    assert_eq!(refused(&overflowing), ContentError::TooLarge { bytes: u64::MAX });
}

#[test]
fn a_broken_manifest() {
    let mut long = content();
    long[8..12].copy_from_slice(&(MANIFEST_BYTES as u32 + 1).to_le_bytes());
    assert_eq!(Content::parse(&long), Err(ContentError::ManifestTooLong { bytes: MANIFEST_BYTES as u64 + 1 }));

    // One byte of the program counted to the manifest.
    let mut longer = packed(&manifest());
    longer[8] += 1;
    assert_eq!(Content::parse(&longer), Err(ContentError::Malformed(DecodeError::Trailing(1))));
    let mut shorter = packed(&manifest());
    shorter[8] -= 1;
    let missing = ContentError::Malformed(DecodeError::Truncated { missing: 1 });
    assert_eq!(Content::parse(&shorter).unwrap_err().to_string(), missing.to_string());

    // The name's length comes first: it claims the memory of the world.
    let mut claiming = packed(&manifest());
    claiming[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(Content::parse(&claiming), Err(ContentError::Malformed(DecodeError::Malformed(_)))));
}

#[test]
fn memory_and_time_out_of_range() {
    let memory = |memory_bytes| rule_broken(&Manifest { memory_bytes, ..manifest() });
    for bytes in [0, MEMORY_BYTES.start() - 4096, MEMORY_BYTES.end() + 4096, u64::MAX] {
        assert_eq!(memory(bytes), ManifestError::Memory { bytes });
    }
    let bytes = MEMORY_BYTES.start() + 1;
    assert_eq!(memory(bytes), ManifestError::MemoryPages { bytes });
    for us in [0, TIME_US + 1, u64::MAX] {
        let cpu = rule_broken(&Manifest { cpu_time_us: us, ..manifest() });
        assert_eq!(cpu, ManifestError::Time { clock: Clock::Cpu, us });
        let wall = rule_broken(&Manifest { wall_time_us: us, ..manifest() });
        assert_eq!(wall, ManifestError::Time { clock: Clock::Wall, us });
    }
    let most =
        Manifest { memory_bytes: *MEMORY_BYTES.end(), cpu_time_us: TIME_US, wall_time_us: TIME_US, ..manifest() };
    assert!(Content::parse(&packed(&most)).is_ok());
    assert_eq!(rule_broken(&Manifest { program_bytes: 0, ..manifest() }), ManifestError::EmptyProgram);
}

#[test]
fn names() {
    let label = |name: &str| match rule_broken(&Manifest { name: name.to_owned(), ..manifest() }) {
        ManifestError::Name(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(label(""), LabelError::Empty);
    assert_eq!(label(&"n".repeat(256)), LabelError::TooLong { bytes: 256 });
    for character in ['\x1b', '\u{9b}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
        assert_eq!(label(&format!("a{character}[2J")), LabelError::Control { character });
    }

    let path = |name: &str| match rule_broken(&with_files(&[name])) {
        ManifestError::FileName { fault, .. } => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(path(""), PathError::Label(LabelError::Empty));
    assert_eq!(path(&"é".repeat(128)), PathError::Label(LabelError::TooLong { bytes: 256 }));
    assert_eq!(path("a\0b"), PathError::Label(LabelError::Control { character: '\0' }));
    assert_eq!(path("a\\b"), PathError::Backslash);
    assert_eq!(path("/etc/passwd"), PathError::Absolute);
    for (name, component) in [("..", ".."), ("a/../b", ".."), (".", "."), ("a/./b", "."), ("a//b", ""), ("a/", "")] {
        assert_eq!(path(name), PathError::Component { component: component.to_owned() }, "{name}");
    }
    let fine = with_files(&["...", "a b", "a..b/.c", "\u{e9}", &"\u{ea}".repeat(127)]);
    assert!(Content::parse(&packed(&fine)).is_ok());
}

#[test]
fn a_refused_name_is_shown_short_and_escaped() {
    let message = refused(&with_files(&[&format!("\x1b{}", "x".repeat(9999))])).to_string();
    assert!(message.contains("\\u{1b}xxx") && message.len() < 200, "{message}");
}

#[test]
fn order_of_files() {
    let name = |name: &str| name.to_owned();
    assert_eq!(rule_broken(&with_files(&["b", "c", "a"])), ManifestError::NotSorted { name: name("a") });
    assert_eq!(rule_broken(&with_files(&["a", "b", "b"])), ManifestError::Duplicate { name: name("b") });
    let nested = with_files(&["a", "d", "d-e", "d/e/f"]);
    assert_eq!(rule_broken(&nested), ManifestError::FileAndDirectory { name: name("d") });

    let names: Vec<_> = (0..=FILES).map(|i| format!("{i:03}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(rule_broken(&with_files(&names)), ManifestError::TooManyFiles { count: FILES + 1 });
    assert!(Content::parse(&packed(&with_files(&names[1..]))).is_ok());
}

#[test]
fn broken_lists_of_signatures() {
    let with_list = |length: u32, list: &[u8]| {
        let file = [&content(), length.to_le_bytes().as_slice(), list].concat();
        Bundle::parse(&file).unwrap_err()
    };
    let most = SIGNATURES_BYTES as u32;
    assert_eq!(with_list(most + 1, &[]), BundleError::SignaturesTooLong { bytes: u64::from(most) + 1 });
    assert_eq!(with_list(0, &[]), BundleError::Malformed(DecodeError::Truncated { missing: 8 }));
    assert_eq!(with_list(9, &[0; 9]), BundleError::Malformed(DecodeError::Trailing(1)));
    assert!(matches!(with_list(8, &[0xff; 8]), BundleError::Malformed(_)));
    assert!(bundle::assemble(&content(), &[]).is_ok());
}

//! Packing and parsing bundles: the same bytes for the same input, and back.

mod any;

use any::{REQUEST, content, files, key};
use denali_protocol::{
    bundle::{
        self, AssembleError, Bundle, BundleError, BundleSignature, Content, ContentError, ManifestError, PackError,
        PackRequest,
    },
    digest::Digest,
};
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};

proptest! {
    #[test]
    fn what_was_packed_is_found_again(
        name in "[^\\p{Cc}\\u{202a}-\\u{202e}\\u{2066}-\\u{2069}]{1,60}",
        program in vec(any::<u8>(), 1..200),
        // The first letters differ from the later ones, so no file is a directory of another.
        files in btree_map("[a-c]{1,3}(/[d-f.]{1,3}x){0,2}y", vec(any::<u8>(), 0..50), 0..6),
        pages in 1024..4096_u64,
        times in (1..1_000_000_u64, 1..1_000_000_u64),
    ) {
        let files: Vec<_> = files.into_iter().collect();
        let request = PackRequest {
            name: &name,
            memory_bytes: pages * 4096,
            cpu_time_us: times.0,
            wall_time_us: times.1,
            program: &program,
            files: &files,
            ..REQUEST
        };
        let bytes = bundle::pack(&request).unwrap();
        let reversed: Vec<_> = files.iter().rev().cloned().collect();
        prop_assert_eq!(&bundle::pack(&PackRequest { files: &reversed, ..request }).unwrap(), &bytes);

        let content = Content::parse(&bytes).unwrap();
        prop_assert_eq!(content.program(), &program);
        prop_assert_eq!(content.bytes(), &bytes);
        prop_assert_eq!(content.digest(), Digest::of(&bytes));
        let found: Vec<_> = content.files().map(|(name, file)| (name.to_owned(), file.to_vec())).collect();
        prop_assert_eq!(found, files);
        let manifest = content.manifest();
        prop_assert_eq!(&manifest.name, &name);
        prop_assert_eq!(manifest.memory_bytes, pages * 4096);
        prop_assert_eq!((manifest.cpu_time_us, manifest.wall_time_us), times);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(mut bytes: Vec<u8>, from in 0..100_usize) {
        let sample = content();
        bytes.splice(0..0, sample[..from].iter().copied());
        let parsed = Bundle::parse(&bytes);
        prop_assert!(parsed.is_err(), "{parsed:?}");
    }
}

#[test]
fn packing_keeps_its_bytes() {
    // A change here gives every bundle another digest: raise the version in the magic with it.
    let expected = "52267bdebd05c53d0af693ff70b957c744e7db1253caff5b3a80712af59a9fc6";
    assert_eq!(Digest::of(&content()).to_string(), expected);
    assert_eq!(content()[..12], *b"DENALIB1\x64\0\0\0");
}

#[test]
fn a_cut_bundle_is_refused_at_every_length() {
    let signature = BundleSignature::sign(&Digest::of(&content()), &key(1), 1);
    let file = bundle::assemble(&content(), &[signature]).unwrap();
    for length in 0..file.len() {
        match Bundle::parse(&file[..length]).unwrap_err() {
            BundleError::Content(ContentError::Truncated { missing, .. }) => {
                assert!((1..=(file.len() - length) as u64).contains(&missing), "{length}: {missing} missing");
            }
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn a_cut_content_says_how_many_bytes_are_missing() {
    let content = content();
    let payload = content.len() - 3..content.len();
    for length in payload {
        let missing = (content.len() - length) as u64;
        let expected = ContentError::Truncated { part: "program and files", missing };
        assert_eq!(Content::parse(&content[..length]), Err(expected));
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut content = content();
    let mut file = bundle::assemble(&content, &[]).unwrap();
    file.extend([0, 0]);
    assert_eq!(Bundle::parse(&file), Err(BundleError::Trailing { bytes: 2 }));
    content.push(0);
    assert_eq!(Content::parse(&content), Err(ContentError::Trailing { bytes: 1 }));
    assert_eq!(bundle::assemble(&content, &[]), Err(AssembleError::Content(ContentError::Trailing { bytes: 1 })));
}

#[test]
fn content_and_file_are_not_taken_for_each_other() {
    let file = bundle::assemble(&content(), &[]).unwrap();
    assert_eq!(file.len(), content().len() + 4 + 8);
    assert_eq!(Content::parse(&file), Err(ContentError::Trailing { bytes: 12 }));
    let truncated = ContentError::Truncated { part: "length of the signatures", missing: 4 };
    assert_eq!(Bundle::parse(&content()), Err(BundleError::Content(truncated)));
}

#[test]
fn packing_refuses_what_parsing_would() {
    let pack = |request| bundle::pack(&request).unwrap_err();
    assert_eq!(pack(PackRequest { program: b"", ..REQUEST }), PackError::Manifest(ManifestError::EmptyProgram));
    let mut twice = files();
    twice.push(twice[0].clone());
    let duplicate = ManifestError::Duplicate { name: "b/data".to_owned() };
    assert_eq!(pack(PackRequest { files: &twice, ..REQUEST }), PackError::Manifest(duplicate));
    let long: Vec<_> = (0..256).map(|i| (format!("{i:0>255}"), Vec::new())).collect();
    let long = pack(PackRequest { files: &long, ..REQUEST }).to_string();
    assert!(long.starts_with("the manifest's encoding takes 69"), "{long}");
    let huge = pack(PackRequest { program: &vec![0; 512 << 20], ..REQUEST });
    assert!(matches!(huge, PackError::TooLarge { bytes } if bytes > 512 << 20), "{huge:?}");
}

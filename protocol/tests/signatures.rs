//! Signatures beside a bundle: which count, and which refuse it.

mod any;

use any::{content, key};
use denali_protocol::{
    bundle::{self, AssembleError, Bundle, BundleError, BundleSignature, SignatureError, verify_signatures},
    codec,
    digest::Digest,
    limits::{SIGNATURES, SIGNATURES_BYTES},
};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;

fn signed(by: u8, expires_unix_s: u64) -> BundleSignature {
    BundleSignature::sign(&Digest::of(&content()), &key(by), expires_unix_s)
}

fn verify(signatures: &[BundleSignature]) -> Result<Vec<u8>, SignatureError> {
    let signers = verify_signatures(&Digest::of(&content()), signatures, NOW)?;
    Ok(signers.iter().map(|signer| (0..=99).find(|n| key(*n).public() == *signer).expect("a known key")).collect())
}

#[test]
fn an_unsigned_bundle_has_no_signers() {
    assert_eq!(verify(&[]), Ok(vec![]));
}

#[test]
fn a_signature_counts_up_to_its_last_second() {
    assert_eq!(verify(&[signed(1, NOW)]), Ok(vec![1]));
    assert_eq!(verify(&[signed(1, u64::MAX), signed(2, NOW + 1)]), Ok(vec![1, 2]));
    let signer = key(1).public();
    let expired = SignatureError::Expired { signer, expires_unix_s: NOW - 1, now_unix_s: NOW };
    let message = expired.to_string();
    assert!(message.contains(&signer.to_string()) && message.contains("1699999999"), "{message}");
    assert_eq!(verify(&[signed(1, NOW - 1)]), Err(expired));
}

#[test]
fn an_expired_signature_beside_one_that_counts_does_not_count() {
    assert_eq!(verify(&[signed(1, NOW - 1), signed(2, NOW), signed(3, 0)]), Ok(vec![2]));
    assert!(matches!(verify(&[signed(1, 1), signed(2, 2)]), Err(SignatureError::Expired { expires_unix_s: 1, .. })));
}

#[test]
fn a_bad_signature_beside_a_good_one_refuses_the_bundle() {
    let signer = key(2).public();
    let invalid = Err(SignatureError::Invalid { signer });
    let other_content = BundleSignature::sign(&Digest::of(b"other"), &key(2), NOW);
    assert_eq!(verify(&[signed(1, NOW), other_content]), invalid);
    let longer = BundleSignature { expires_unix_s: NOW + 9, ..signed(2, NOW) };
    assert_eq!(verify(&[longer, signed(1, NOW)]), invalid);
    let stolen = BundleSignature { signer, ..signed(3, NOW) };
    assert_eq!(verify(&[signed(1, NOW), stolen]), invalid);
    // Expired and forged is forged.
    let expired = BundleSignature { expires_unix_s: NOW - 1, ..signed(2, NOW) };
    assert_eq!(verify(&[signed(1, NOW), expired]), invalid);
}

#[test]
fn two_signatures_by_one_signer_are_refused_everywhere() {
    let twice = [signed(1, NOW), signed(2, NOW), signed(1, NOW + 1)];
    let duplicate = SignatureError::Duplicate { signer: key(1).public() };
    assert_eq!(verify(&twice), Err(duplicate));
    let duplicate = SignatureError::Duplicate { signer: key(1).public() };
    assert_eq!(bundle::assemble(&content(), &twice), Err(AssembleError::Signatures(duplicate)));
    let list = codec::encode(twice.as_slice(), SIGNATURES_BYTES).unwrap();
    let file = [content().as_slice(), &(list.len() as u32).to_le_bytes(), &list].concat();
    let duplicate = SignatureError::Duplicate { signer: key(1).public() };
    assert_eq!(Bundle::parse(&file), Err(BundleError::Signatures(duplicate)));
}

#[test]
fn the_number_of_signatures_is_limited() {
    let mut many: Vec<_> = (0..SIGNATURES as u8).map(|by| signed(by, NOW)).collect();
    assert_eq!(verify(&many).map(|signers| signers.len()), Ok(SIGNATURES));
    let file = bundle::assemble(&content(), &many).unwrap();
    assert_eq!(Bundle::parse(&file).unwrap().signatures(), many);
    many.push(signed(99, NOW));
    assert_eq!(verify(&many), Err(SignatureError::TooMany { count: SIGNATURES + 1 }));
    let refused = SignatureError::TooMany { count: SIGNATURES + 1 };
    assert_eq!(bundle::assemble(&content(), &many), Err(AssembleError::Signatures(refused)));
}

#[test]
fn every_flipped_bit_of_a_signed_bundle_is_noticed() {
    let file = bundle::assemble(&content(), &[signed(1, NOW), signed(2, u64::MAX)]).unwrap();
    let accepted = |file: &[u8]| {
        let bundle = Bundle::parse(file).ok()?;
        verify_signatures(&bundle.digest(), bundle.signatures(), NOW).ok()
    };
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(accepted(&bad), None, "bit {bit}");
    }
    assert_eq!(accepted(&file).map(|signers| signers.len()), Some(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signing_never_changes_the_digest(seed: [u8; 32], expires: u64) {
        let digest = Digest::of(&content());
        let key = denali_protocol::identity::KeyPair::from_seed(&seed);
        let signature = BundleSignature::sign(&digest, &key, expires);
        let file = bundle::assemble(&content(), &[signature]).unwrap();
        let bundle = Bundle::parse(&file).unwrap();
        prop_assert_eq!(bundle.digest(), digest);
        prop_assert_eq!(bundle.signatures()[0].verify(&digest, expires), Ok(()));
    }
}

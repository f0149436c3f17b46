//! Digests and keys as text.

use denali_protocol::{
    digest::{Digest, Hasher},
    identity::{KeyPair, PublicKey},
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn digests_and_keys_keep_their_text(bytes: [u8; 32]) {
        prop_assert_eq!(Digest(bytes).to_string().parse(), Ok(Digest(bytes)));
        prop_assert_eq!(PublicKey(bytes).to_string().parse(), Ok(PublicKey(bytes)));
    }

    #[test]
    fn bytes_in_pieces_have_the_digest_of_the_whole(bytes: Vec<u8>, at: prop::sample::Index) {
        let (a, b) = bytes.split_at(at.index(bytes.len() + 1));
        let mut hasher = Hasher::default();
        hasher.update(a);
        hasher.update(b);
        prop_assert_eq!(hasher.finish(), Digest::of(&bytes));
    }
}

#[test]
fn the_digest_is_sha_256() {
    // FIPS 180-4, the example of one block.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Digest::of(b"abc").to_string(), abc);
    assert_eq!(Digest::of(b"abc").short(), abc[..12]);
}

#[test]
fn other_texts_are_refused() {
    let good = "ab".repeat(32);
    assert!(good.parse::<Digest>().is_ok());
    for bad in ["", "ab", &good[1..], &good.to_uppercase(), &format!("{good}00"), &format!(" {}", &good[1..])] {
        assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
        assert!(bad.parse::<PublicKey>().is_err(), "{bad:?}");
    }
    let long = "x".repeat(9999).parse::<Digest>().unwrap_err().to_string();
    assert!(long.len() < 200, "{long}");
}

#[test]
fn a_key_pair_shows_no_secret() {
    let key = KeyPair::from_seed(&[7; 32]);
    assert_eq!(format!("{key:?}"), format!("KeyPair({})", key.public()));
    assert_eq!(KeyPair::from_seed(&key.seed()).public(), key.public());
}

//! The codec: one encoding for each value, bounded, nothing left over.

mod any;

use denali_protocol::{
    codec::{self, DecodeError, EncodeError, MAX_BYTES},
    receipt::Receipt,
    wire::message::{Request, Response},
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(request in any::request(), response in any::response()) {
        let bytes = codec::encode(&request, MAX_BYTES).unwrap();
        prop_assert_eq!(codec::decode::<Request>(&bytes, MAX_BYTES).unwrap(), request);
        let bytes = codec::encode(&response, MAX_BYTES).unwrap();
        prop_assert_eq!(codec::decode::<Response>(&bytes, MAX_BYTES).unwrap(), response);
    }

    #[test]
    fn a_value_has_one_encoding(response in any::response(), at: prop::sample::Index, with: u8) {
        let mut bytes = codec::encode(&response, MAX_BYTES).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if let Ok(other) = codec::decode::<Response>(&bytes, MAX_BYTES) {
            prop_assert_eq!(codec::encode(&other, MAX_BYTES).unwrap(), bytes);
        }
    }

    #[test]
    fn a_cut_value_is_refused(request in any::request(), at: prop::sample::Index) {
        let bytes = codec::encode(&request, MAX_BYTES).unwrap();
        let cut = codec::decode::<Request>(&bytes[..at.index(bytes.len())], MAX_BYTES);
        prop_assert!(matches!(cut, Err(DecodeError::Truncated { .. })), "{cut:?}");
    }

    #[test]
    fn bytes_left_over_are_refused(request in any::request(), extra in 1..9_usize) {
        let mut bytes = codec::encode(&request, MAX_BYTES).unwrap();
        bytes.resize(bytes.len() + extra, 0);
        prop_assert_eq!(codec::decode::<Request>(&bytes, MAX_BYTES), Err(DecodeError::Trailing(extra)));
    }

    #[test]
    fn bytes_in_one_piece_are_encoded_like_a_list(bytes: Vec<u8>) {
        let piece = codec::encode(&Receipt(bytes.clone()), MAX_BYTES).unwrap();
        prop_assert_eq!(piece, codec::encode(&bytes, MAX_BYTES).unwrap());
    }
}

#[test]
fn the_limit_is_exact() {
    let bytes = codec::encode("12345678", 16).unwrap();
    assert_eq!(bytes, b"\x08\0\0\0\0\0\0\x0012345678");
    assert_eq!(codec::decode::<String>(&bytes, 16).unwrap(), "12345678");
    assert_eq!(codec::encode("12345678", 15), Err(EncodeError::TooLong { actual: 16, limit: 15 }));
    assert_eq!(codec::decode::<String>(&bytes, 15), Err(DecodeError::TooLong { actual: 16, limit: 15 }));
}

#[test]
fn what_encodes_decodes_up_to_the_largest() {
    let largest = "x".repeat(MAX_BYTES - 8);
    let bytes = codec::encode(&largest, usize::MAX).unwrap();
    assert_eq!(codec::decode::<String>(&bytes, usize::MAX).unwrap(), largest);
    let larger = codec::encode(&"x".repeat(MAX_BYTES - 7), usize::MAX);
    assert_eq!(larger, Err(EncodeError::TooLong { actual: MAX_BYTES + 1, limit: MAX_BYTES }));
}

#[test]
fn a_huge_claim_is_refused_before_room_is_made_for_it() {
    // Making room for these would abort the process.
    for claim in [1_u64 << 48, u64::MAX] {
        let bytes = claim.to_le_bytes();
        let refused = |result: Result<(), DecodeError>| result.unwrap_err().to_string();
        let text = refused(codec::decode::<String>(&bytes, 8).map(drop));
        assert_eq!(text, format!("malformed: a length in it claims more than {MAX_BYTES} bytes"));
        let piece = refused(codec::decode::<Receipt>(&bytes, 8).map(drop));
        assert_eq!(piece, text);
        let list = codec::decode::<Vec<u64>>(&bytes, 8);
        assert_eq!(list, Err(DecodeError::Truncated { missing: 8 }));
    }
}

#[test]
fn a_flag_is_zero_or_one() {
    assert_eq!(codec::decode(&[1], 1), Ok(true));
    assert!(matches!(codec::decode::<bool>(&[2], 1), Err(DecodeError::Malformed(_))));
    assert!(matches!(codec::decode::<Option<u8>>(&[2, 0], 2), Err(DecodeError::Malformed(_))));
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let said = |bytes: &[u8]| codec::decode::<String>(bytes, 64).unwrap_err().to_string();
    assert!(said(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).starts_with("malformed: a text in it is no UTF-8"));
    let flag = codec::decode::<bool>(&[7], 64).unwrap_err().to_string();
    assert_eq!(flag, "malformed: a flag in it is 7");
}

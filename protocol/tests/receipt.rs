//! Receipts: every bit counts.

mod any;

use any::{key, statement};
use denali_protocol::{
    codec::{DecodeError, EncodeError},
    digest::Digest,
    identity::{PublicKey, Purpose},
    job::Outcome,
    limits::RECEIPT_BYTES,
    receipt::{Receipt, ReceiptError, Statement, arguments_digest},
};
use proptest::{collection::vec, prelude::*};

fn receipt() -> Receipt {
    Receipt::sign(&statement(), &key(1)).expect("the sample is short")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_receipt_states_what_was_signed(outcome in any::outcome(), index: u32) {
        let statement = Statement { outcome, index, ..statement() };
        let receipt = Receipt::sign(&statement, &key(1)).unwrap();
        prop_assert_eq!(receipt.verify(), Ok(statement));
    }

    #[test]
    fn other_arguments_have_another_digest(a in vec(".{0,3}", 0..3), b in vec(".{0,3}", 0..3)) {
        prop_assert_eq!(a == b, arguments_digest(&a) == arguments_digest(&b));
    }
}

#[test]
fn every_flipped_bit_fails() {
    let good = receipt();
    for bit in 0..good.0.len() * 8 {
        let mut bad = good.clone();
        bad.0[bit / 8] ^= 1 << (bit % 8);
        assert!(bad.verify().is_err(), "bit {bit}");
    }
    assert!(good.verify().is_ok());
}

#[test]
fn a_cut_receipt_fails_at_every_length() {
    let good = receipt().0;
    for length in 0..good.len() {
        match Receipt(good[..length].to_vec()).verify() {
            Err(ReceiptError::NotAReceipt) => assert!(length < 8),
            Err(ReceiptError::Length { expected, actual }) => {
                assert_eq!((expected, actual), (if length < 12 { 76 } else { good.len() }, length));
            }
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn a_byte_after_the_signature_fails() {
    let mut long = receipt().0;
    let expected = long.len();
    long.push(0);
    assert_eq!(Receipt(long).verify(), Err(ReceiptError::Length { expected, actual: expected + 1 }));
}

#[test]
fn another_key_fails() {
    let forged = Receipt::sign(&statement(), &key(9)).unwrap();
    assert_eq!(forged.verify(), Err(ReceiptError::Signature { node: key(1).public() }));
}

#[test]
fn a_signature_for_another_purpose_fails() {
    let mut receipt = receipt().0;
    let body = 12..receipt.len() - 64;
    let other = key(1).sign(Purpose::Bundle, &receipt[body.clone()]);
    receipt[body.end..].copy_from_slice(&other.to_bytes());
    assert_eq!(Receipt(receipt).verify(), Err(ReceiptError::Signature { node: key(1).public() }));
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    // The neutral point as key and as R, with s = 0, satisfies the equation that a lax verifier checks.
    let neutral: [u8; 32] = std::array::from_fn(|i| u8::from(i == 0));
    let mut signature = [0; 64];
    signature[0] = 1;
    let signature = ed25519_dalek::Signature::from_bytes(&signature);
    assert!(!PublicKey(neutral).verify(Purpose::Receipt, b"anything", &signature));
}

#[test]
fn a_statement_has_a_longest_length() {
    let with = |bytes| Statement { outcome: Outcome::Lost("x".repeat(bytes)), ..statement() };
    let empty = Receipt::sign(&with(0), &key(1)).unwrap().0.len() - 76;
    assert!(Receipt::sign(&with(RECEIPT_BYTES - empty), &key(1)).unwrap().verify().is_ok());
    let actual = RECEIPT_BYTES + 1;
    let refused = Receipt::sign(&with(actual - empty), &key(1));
    assert_eq!(refused, Err(EncodeError::TooLong { actual, limit: RECEIPT_BYTES }));

    let forged = [b"DENALIR1".as_slice(), &(actual as u32).to_le_bytes(), &vec![0; actual + 64]].concat();
    let refused = DecodeError::TooLong { actual, limit: RECEIPT_BYTES };
    assert_eq!(Receipt(forged).verify(), Err(ReceiptError::Statement(refused)));
}

#[test]
fn the_digest_of_arguments_is_the_one_stated() {
    assert_eq!(arguments_digest(&[]), Digest::of(&[0; 8]));
    let stated = b"\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0ab\x00\0\0\0\0\0\0\0";
    assert_eq!(arguments_digest(&["ab".to_owned(), String::new()]), Digest::of(stated));
}

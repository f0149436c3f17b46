//! Receipts, as a node that lies or a file that rots might give them.

use denali_protocol::{
    codec,
    identity::{KeyPair, Purpose},
    limits::RECEIPT_BYTES,
    receipt::{Receipt, Statement},
};

/// Bytes around the body: magic and length before it, the signature after it.
const HEAD_BYTES: usize = 8 + 4;
const SIGNATURE_BYTES: usize = 64;

/// Verifies `data` as a receipt, and as the body of a receipt that is well signed. What holds states exactly the bytes that
/// were signed, and by the node that it names.
pub fn receipt(data: &[u8]) {
    if let Ok(statement) = Receipt(data.to_vec()).verify() {
        let body = &data[HEAD_BYTES..data.len() - SIGNATURE_BYTES];
        assert_eq!(codec::encode(&statement, RECEIPT_BYTES).as_deref(), Ok(body));
    }

    let statement = codec::decode::<Statement>(data, RECEIPT_BYTES).ok();
    // To sign takes longer than all else: of what is no statement, a few will do.
    if statement.is_none() && !data.len().is_multiple_of(32) {
        return;
    }
    let key = KeyPair::from_seed(&[1; 32]);
    let signature = key.sign(Purpose::Receipt, data).to_bytes();
    let length = (data.len() as u32).to_le_bytes();
    let signed = Receipt([b"DENALIR1", length.as_slice(), data, &signature].concat());
    let expected = statement.filter(|s| s.node == key.public());
    assert_eq!(signed.verify().ok(), expected);
}

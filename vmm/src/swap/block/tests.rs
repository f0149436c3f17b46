use super::{BLOCK_BYTES_MAX, Block, CHECKSUM_BYTES, HEADER_BYTES, Header, Key, MAGIC, RECORDS_BYTES_MAX, UNIT};
use crate::swap::STATE_BYTES_MAX;
use proptest::prelude::*;
use twox_hash::XxHash3_64;

const KEY: Key = Key { vm: 7, sequence: 9 };

/// Lengths around all bounds, in the header's 32 bits.
fn length() -> impl Strategy<Value = u32> {
    let bounds = [0, 1, UNIT, STATE_BYTES_MAX, RECORDS_BYTES_MAX, BLOCK_BYTES_MAX - HEADER_BYTES, u32::MAX as usize];
    let near = (prop::sample::select(bounds.to_vec()), -2..=2i64);
    prop_oneof![any::<u32>(), 0..10_000u32, near.prop_map(|(bound, off)| (bound as i64 + off) as u32)]
}

proptest! {
    /// No bytes make the parser panic, and what it takes for a header fits the memory for a block.
    #[test]
    fn any_bytes_are_a_header_or_none(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
        if magic && bytes.len() >= 16 {
            bytes[8..16].copy_from_slice(&MAGIC);
        }
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.state_bytes <= header.records_bytes);
            prop_assert!(header.records_bytes <= RECORDS_BYTES_MAX);
            prop_assert!(header.block_bytes() <= BLOCK_BYTES_MAX);
        }
    }

    /// Not even a forged block, with a checksum that is right, makes the reader panic.
    #[test]
    fn a_forged_block_is_opened_or_refused(
        lengths in [length(), length(), length()],
        body in prop::collection::vec(any::<u8>(), 0..3 * UNIT),
        held in 0..6usize,
        before: u64,
    ) {
        let mut block = Block::new().unwrap();
        block.disk[8..16].copy_from_slice(&MAGIC);
        block.disk[16..24].copy_from_slice(&KEY.vm.to_le_bytes());
        block.disk[24..32].copy_from_slice(&KEY.sequence.to_le_bytes());
        for (n, length) in lengths.into_iter().enumerate() {
            block.disk[32 + 4 * n..][..4].copy_from_slice(&length.to_le_bytes());
        }
        block.disk[HEADER_BYTES..][..body.len()].copy_from_slice(&body);
        if let Ok(header) = Header::parse(&block.disk) {
            let checksum = XxHash3_64::oneshot_with_seed(before, &block.disk[CHECKSUM_BYTES..header.block_bytes()]);
            block.disk[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        }
        if block.open(held * UNIT, KEY, before).is_ok() {
            let _ = block.pages(&mut |_, _| {});
        }
    }

    /// Nor do forged records.
    #[test]
    fn forged_records_are_read_or_refused(records in prop::collection::vec(0..3u8, 0..20_000), state in 0..100usize) {
        let mut block = Block::new().unwrap();
        block.begin(&records);
        block.state_bytes = state.min(records.len());
        let _ = block.pages(&mut |_, _| {});
    }

    /// A header says the same when it is read as when it was written.
    #[test]
    fn a_header_comes_back(vm: u64, sequence: u64, state in 0..=STATE_BYTES_MAX, more in 0..=RECORDS_BYTES_MAX / 2) {
        let header = Header {
            key: Key { vm, sequence },
            state_bytes: state,
            records_bytes: state + more,
            packed_bytes: more,
        };
        let mut bytes = vec![0; CHECKSUM_BYTES];
        bytes.extend(header.encode());
        prop_assert_eq!(Header::parse(&bytes), Ok(header));
    }
}

/// The worst that can be packed fits.
#[test]
fn random_records_fit_a_block() {
    let mut block = Block::new().unwrap();
    let mut random = crate::swap::space::tests::Random(1);
    block.begin(&[]);
    while !block.is_full() {
        block.push(random.next(), &random.page());
    }
    let sealed = block.seal(KEY, 3);
    assert!(sealed.bytes <= RECORDS_BYTES_MAX + 2 * UNIT, "{sealed:?}");
    assert_eq!(block.open(sealed.bytes, KEY, 3), Ok(sealed));
    assert_eq!(block.open(sealed.bytes - UNIT, KEY, 3), Err("its end is missing"));
    assert_eq!(block.open(sealed.bytes, KEY, 4), Err("its checksum is wrong"));
}

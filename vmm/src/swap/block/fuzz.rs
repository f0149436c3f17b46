//! A block as a disk, or whoever writes to it, may leave it.

use super::{Block, CHECKSUM_BYTES, HEADER_BYTES, Header, Key, MAGIC, RECORDS_BYTES_MAX, UNIT};
use crate::swap::STATE_BYTES_MAX;
use std::cell::RefCell;
use twox_hash::XxHash3_64;

const KEY: Key = Key { vm: 7, sequence: 9 };

/// Opens `data` as a block, three times: as it is, with the names that are looked for, and with the checksum too. What is opened
/// obeys all bounds, hands on whole pages, and one with a wrong checksum never is.
pub fn swap_block(data: &[u8]) {
    thread_local! {
        static BLOCK: RefCell<Block> = RefCell::new(Block::new().expect("memory"));
    }
    BLOCK.with_borrow_mut(|block| {
        let bytes = data.len().next_multiple_of(UNIT).min(block.disk.len());
        let given = data.len().min(bytes);
        block.disk[..given].copy_from_slice(&data[..given]);
        block.disk[given..bytes].fill(0);
        let before = data.first().map_or(0, |byte| u64::from(*byte));
        open(block, bytes, before);
        if bytes == 0 {
            return;
        }
        block.disk[CHECKSUM_BYTES..][..8].copy_from_slice(&MAGIC);
        block.disk[16..24].copy_from_slice(&KEY.vm.to_le_bytes());
        block.disk[24..32].copy_from_slice(&KEY.sequence.to_le_bytes());
        open(block, bytes, before);
        let Ok(header) = Header::parse(&block.disk[..bytes]) else { return };
        assert!(header.state_bytes <= STATE_BYTES_MAX && header.state_bytes <= header.records_bytes);
        assert!(header.records_bytes <= RECORDS_BYTES_MAX && header.block_bytes() <= block.disk.len());
        if let Some(sealed) = block.disk[..bytes].get(CHECKSUM_BYTES..header.block_bytes()) {
            let checksum = XxHash3_64::oneshot_with_seed(before, sealed);
            block.disk[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
            open(block, bytes, before);
        }
    });
}

fn open(block: &mut Block, bytes: usize, before: u64) {
    match block.open(bytes, KEY, before) {
        Ok(sealed) => {
            assert!(HEADER_BYTES <= sealed.bytes && sealed.bytes <= bytes && sealed.bytes.is_multiple_of(UNIT));
            let stated = XxHash3_64::oneshot_with_seed(before, &block.disk[CHECKSUM_BYTES..sealed.bytes]);
            assert_eq!(stated, sealed.checksum);
            let state_bytes = block.state().len();
            let mut pages = 0;
            let all = block.pages(&mut |_, _| pages += 1);
            // A record has nine bytes or more.
            assert!(state_bytes + 9 * pages <= RECORDS_BYTES_MAX && all.err().is_none_or(|why| !why.is_empty()));
        }
        Err(why) => assert_ne!(why, ""),
    }
}

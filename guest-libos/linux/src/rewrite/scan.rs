//! The search for byte pairs that may be traps, before anything is decoded.

use super::text::{Text, Trap};

/// Bytes that are looked at together. Nearly all such blocks hold no trap, and are passed without a branch inside.
const BLOCK: usize = 64;

/// Addresses in `text` whose two bytes read as a trap: each real one, and by chance some that are no instruction.
pub(super) fn candidates(text: Text<'_>) -> impl Iterator<Item = (u64, Trap)> {
    let bytes = text.bytes();
    let seconds = bytes.get(1..).unwrap_or_default();
    let blocks = bytes.chunks(BLOCK).zip(seconds.chunks(BLOCK)).enumerate();
    blocks.filter(|(_, (first, second))| may_hold(first, second)).flat_map(move |(block, (first, second))| {
        let pairs = first.iter().zip(second).enumerate();
        pairs.filter_map(move |(place, (first, second))| {
            let trap = Trap::of(*first, *second)?;
            Some((text.address() + (block * BLOCK + place) as u64, trap))
        })
    })
}

/// Whether one of the pairs is a trap. Without early return: the compiler makes vector instructions of it.
fn may_hold(first: &[u8], second: &[u8]) -> bool {
    let pairs = first.iter().zip(second);
    pairs.fold(0, |found, (first, second)| {
        found | (u8::from(*first == 0x0f) & (u8::from(*second == 0x05) | u8::from(*second == 0xa2)))
    }) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_pairs_at_edges_of_blocks() {
        let mut bytes = vec![0x90; 3 * BLOCK];
        for place in [0, BLOCK - 1, 2 * BLOCK, 3 * BLOCK - 2] {
            bytes[place] = 0x0f;
            bytes[place + 1] = if place == 0 { 0xa2 } else { 0x05 };
        }
        bytes[100] = 0x0f;
        let text = Text::new(0x1000, &bytes).unwrap();
        let found: Vec<_> = candidates(text).map(|(address, trap)| (address - 0x1000, trap)).collect();
        let block = BLOCK as u64;
        let expected =
            [(0, Trap::Cpuid), (block - 1, Trap::Syscall), (2 * block, Trap::Syscall), (3 * block - 2, Trap::Syscall)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_lone_first_byte_at_the_end_is_nothing() {
        for bytes in [&[][..], &[0x0f], &[0x90, 0x0f]] {
            assert_eq!(candidates(Text::new(0, bytes).unwrap()).count(), 0);
        }
    }
}

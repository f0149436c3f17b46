//! Jumps from far: the cold part of a function, which compilers put elsewhere, jumps back into its middle.

use alloc::vec::Vec;
use core::ops::Range;

use super::text::Text;

/// Of `insides`, disjoint and sorted, those where a jump or call with a 32-bit displacement lands: their indices.
///
/// Nothing is decoded: whatever bytes could be such a jump count as one. Which says too much once in many programs, and never too
/// little. Short jumps are the business of [`super::surroundings`].
pub(super) fn landed(text: Text<'_>, insides: &[Range<u64>]) -> Vec<usize> {
    let mut landed = Vec::new();
    let Some(near) = Near::new(insides) else { return landed };
    let bytes = text.bytes();
    for (place, opcode) in bytes.iter().enumerate() {
        // call, jmp; 0f 80 to 0f 8f: jcc. The comparisons are in the order that mispredicts least.
        let field = match *opcode {
            0xe8 | 0xe9 => place + 1,
            0x0f if bytes.get(place + 1).is_some_and(|second| second & 0xf0 == 0x80) => place + 2,
            _ => continue,
        };
        let Some(displacement) = bytes.get(field..).and_then(<[u8]>::first_chunk) else { continue };
        let next = text.address() + field as u64 + 4;
        let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(*displacement)));
        if near.may_hold(target) {
            let index = insides.partition_point(|inside| inside.end <= target);
            landed.extend(insides.get(index).filter(|inside| inside.contains(&target)).map(|_| index));
        }
    }
    landed.sort_unstable();
    landed.dedup();
    landed
}

/// A bit for each block of addresses that holds an inside, or a part of one. Most jumps are to other blocks, and need no search.
struct Near {
    lowest: u64,
    blocks: Vec<u64>,
}

impl Near {
    /// Address bits that are the same block's: 64 bytes.
    const BLOCK_BITS: u32 = 6;

    fn new(insides: &[Range<u64>]) -> Option<Self> {
        let (lowest, highest) = (insides.first()?.start, insides.last()?.end);
        let words = usize::try_from((highest - lowest) >> Self::BLOCK_BITS >> u64::BITS.ilog2()).ok()? + 1;
        let mut this = Self { lowest, blocks: alloc::vec![0; words] };
        for inside in insides {
            let [first, last] = [inside.start, inside.end - 1].map(|address| (address - lowest) >> Self::BLOCK_BITS);
            for block in first..=last {
                let (word, bit) = Self::place(block);
                this.blocks.get_mut(word).into_iter().for_each(|word| *word |= bit);
            }
        }
        Some(this)
    }

    fn place(block: u64) -> (usize, u64) {
        (usize::try_from(block / u64::from(u64::BITS)).unwrap_or(usize::MAX), 1 << (block % u64::from(u64::BITS)))
    }

    fn may_hold(&self, address: u64) -> bool {
        let (word, bit) = Self::place(address.wrapping_sub(self.lowest) >> Self::BLOCK_BITS);
        self.blocks.get(word).is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_far_jumps_of_each_kind() {
        for opcode in [&[0xe8][..], &[0xe9], &[0x0f, 0x84]] {
            let mut bytes = vec![0x90; 0x200];
            bytes.splice(0..opcode.len() + 4, opcode.iter().copied().chain(0x100_i32.to_le_bytes()));
            let target = 0x1000 + opcode.len() as u64 + 4 + 0x100;
            let text = Text::new(0x1000, &bytes).unwrap();
            assert_eq!(landed(text, &[0x1000..0x1001, target..target + 1]), [1]);
            assert_eq!(landed(text, &[target - 3..target, target + 1..target + 4]), [0; 0]);
        }
    }
}

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
    let (Some(first), Some(last)) = (insides.first(), insides.last()) else { return landed };
    let (lowest, span) = (first.start, last.end - first.start);
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
        if target.wrapping_sub(lowest) < span {
            let index = insides.partition_point(|inside| inside.end <= target);
            landed.extend(insides.get(index).filter(|inside| inside.contains(&target)).map(|_| index));
        }
    }
    landed.sort_unstable();
    landed.dedup();
    landed
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

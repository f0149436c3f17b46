//! Extents of functions from the tables that unwinders use, which stripped programs keep.

use core::ops::Range;

use super::functions::Functions;

/// Encoding of addresses that compilers write: 32 bits with a sign, relative to themselves.
const PCREL_SDATA4: u8 = 0x1b;

impl Functions {
    /// From the section `.eh_frame`, loaded at `address`. Entries whose addresses have another encoding than 32 bits relative to
    /// themselves are left out.
    ///
    /// Source: Linux Standard Base Core 5.0, 10.6, Exception Frames.
    #[must_use]
    pub fn from_unwind_tables(address: u64, frames: &[u8]) -> Self {
        let mut common = (usize::MAX, false);
        Self::new(Records { frames, place: 0 }.filter_map(|(place, end)| {
            let back = usize::try_from(word(frames, place)?).ok()?;
            let origin = place.checked_sub(back).filter(|_| back != 0)?;
            // Entries that share a common record follow each other, so the last one is all the memory that is needed.
            if common.0 != origin {
                common = (origin, is_common(frames, origin));
            }
            let field = place + 4;
            (common.1 && field + 8 <= end).then(|| extent(address, frames, field)).flatten()
        }))
    }
}

/// Records of the section, without their lengths: start and end of each.
struct Records<'a> {
    frames: &'a [u8],
    place: usize,
}

impl Iterator for Records<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        // A length of 0 ends the section; all ones would say that a longer one follows, which no linker writes for code of this size.
        let length = word(self.frames, self.place).filter(|length| *length != 0 && *length != u32::MAX)?;
        let start = self.place.checked_add(4)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        self.place = end;
        (end <= self.frames.len()).then_some((start, end))
    }
}

/// The extent that an entry tells at `field`: where it starts, relative to the field; its length.
fn extent(address: u64, frames: &[u8], field: usize) -> Option<Range<u64>> {
    let relative = i64::from(word(frames, field)?.cast_signed());
    let start = address.checked_add(u64::try_from(field).ok()?)?.checked_add_signed(relative)?;
    Some(start..start.checked_add(u64::from(word(frames, field + 4)?))?)
}

/// Whether the common record at `place` says that its entries have the one encoding that is understood.
fn is_common(frames: &[u8], place: usize) -> bool {
    // Identifier 0, version 1, then a string of what the record holds.
    let Some(record) = place.checked_add(4).and_then(|start| frames.get(start..)) else { return false };
    let Some(([0, 0, 0, 0, 1], rest)) = record.split_first_chunk() else { return false };
    let augmentation = rest.iter().take_while(|byte| **byte != 0).count();
    let (Some(letters), Some(rest)) = (rest.get(..augmentation), rest.get(augmentation + 1..)) else { return false };
    // S: a return from a signal handler. Its entry begins a byte before the code, so it says no start of an instruction.
    let Some((b'z', letters)) = letters.split_first().filter(|_| !letters.contains(&b'S')) else { return false };
    // Alignment of code, of data, the return address's register, and the length of what the letters stand for: a byte each.
    let Some(mut data) = rest.get(4..).filter(|_| rest.iter().take(4).all(|byte| byte & 0x80 == 0)) else {
        return false;
    };
    for letter in letters {
        let skipped = match (letter, data.first()) {
            (b'R', Some(encoding)) => return *encoding == PCREL_SDATA4,
            (b'L', _) => 1,
            (b'P', Some(encoding)) if encoding & 0x0f == 0x0b || encoding & 0x0f == 0x03 => 5,
            (b'P', Some(_)) => 9,
            _ => return false,
        };
        data = data.get(skipped..).unwrap_or_default();
    }
    false
}

/// The little-endian 32-bit word at `place`.
pub(super) fn word(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(place..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A section with one common record and one entry for 0x1000 to 0x1040, loaded at 0x3000.
    fn section(letters: [u8; 4], encoding: u8) -> Vec<u8> {
        let mut common = vec![0, 0, 0, 0, 1];
        common.extend(letters);
        // Alignments, register, length; personality; table of exceptions; addresses.
        common.extend([0, 1, 0x78, 16, 7, 0x9b, 0, 0, 0, 0, 0x1b, encoding]);
        let entry = 4 + common.len() as i32;
        let words = [16, entry + 4, 0x1000 - (0x3000 + entry + 8), 0x40, 0, 0];
        let length = (common.len() as u32).to_le_bytes();
        length.into_iter().chain(common).chain(words.into_iter().flat_map(i32::to_le_bytes)).collect()
    }

    #[test]
    fn entries_give_extents() {
        let functions = Functions::from_unwind_tables(0x3000, &section(*b"zPLR", PCREL_SDATA4));
        assert_eq!(functions.around(0x1000), Some(0x1000..0x1040));
        assert_eq!(functions.around(0x1040), None);
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        assert!(Functions::from_unwind_tables(0x3000, &section(*b"zPLR", 0)).is_empty());
        assert!(Functions::from_unwind_tables(0x3000, &section(*b"zRSR", PCREL_SDATA4)).is_empty());
        assert!(Functions::from_unwind_tables(0x3000, &section(*b"xPLR", PCREL_SDATA4)).is_empty());
    }

    proptest! {
        #[test]
        fn hostile_tables_do_no_harm(address: u64, place in 0_usize..64, value: u8, length in 0_usize..80) {
            let mut bytes = section(*b"zPLR", PCREL_SDATA4);
            bytes.truncate(length);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
            let _ = Functions::from_unwind_tables(address, &bytes);
        }
    }
}

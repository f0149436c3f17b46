//! Extents of functions from the tables that unwinders use, which stripped programs keep.

use alloc::vec::Vec;
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
        let (mut common, mut extents, mut returns) = ((usize::MAX, Common::Unknown), Vec::new(), Vec::new());
        for (place, end) in (Records { frames, place: 0 }) {
            let Some(origin) = origin(frames, place) else { continue };
            // Entries that share a common record follow each other, so the last one is all the memory that is needed.
            if common.0 != origin {
                common = (origin, Common::read(frames, origin).unwrap_or(Common::Unknown));
            }
            let field = place + 4;
            let Some(extent) = extent(address, frames, field).filter(|_| field + 8 <= end) else { continue };
            match common.1 {
                Common::Unknown => {}
                Common::Functions => extents.push(extent),
                Common::Returns => returns.push(extent),
            }
        }
        Self::new(extents).with_returns(returns)
    }
}

/// Where the common record lies that the entry at `place` names; none if that is a common record itself.
fn origin(frames: &[u8], place: usize) -> Option<usize> {
    let back = usize::try_from(word(frames, place)?).ok()?;
    place.checked_sub(back).filter(|_| back != 0)
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

/// What the entries of a common record are about.
#[derive(Clone, Copy)]
enum Common {
    /// They have another encoding, or the record is broken.
    Unknown,
    /// Functions.
    Functions,
    /// Returns from signal handlers. Such an entry begins a byte before the code, so it says no start of an instruction.
    Returns,
}

impl Common {
    /// Reads the common record at `place`. None if it is none, or its entries have another encoding than the one that is understood.
    fn read(frames: &[u8], place: usize) -> Option<Self> {
        // Identifier 0, version 1, then a string of what the record holds.
        let ([0, 0, 0, 0, 1], rest) = frames.get(place.checked_add(4)?..)?.split_first_chunk()? else { return None };
        let augmentation = rest.iter().take_while(|byte| **byte != 0).count();
        let (b'z', letters) = rest.get(..augmentation)?.split_first()? else { return None };
        let rest = rest.get(augmentation + 1..)?;
        // Alignment of code, of data, the return address's register, and the length of what the letters stand for: a byte each.
        let mut data = rest.get(4..).filter(|_| rest.iter().take(4).all(|byte| byte & 0x80 == 0))?;
        let mut encoded = false;
        for letter in letters {
            let skipped = match (letter, data.first()?) {
                (b'R', encoding) => {
                    encoded = *encoding == PCREL_SDATA4;
                    1
                }
                (b'S', _) => 0,
                (b'L', _) => 1,
                (b'P', encoding) if encoding & 0x0f == 0x0b || encoding & 0x0f == 0x03 => 5,
                (b'P', _) => 9,
                _ => return None,
            };
            data = data.get(skipped..)?;
        }
        encoded.then_some(if letters.contains(&b'S') { Self::Returns } else { Self::Functions })
    }
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
    fn section(letters: &[u8], data: &[u8]) -> Vec<u8> {
        let mut common = vec![0, 0, 0, 0, 1];
        common.extend(letters);
        // The end of the letters, alignments, register, length.
        common.extend([0, 1, 0x78, 16, data.len() as u8]);
        common.extend(data);
        let entry = 4 + common.len() as i32;
        let words = [16, entry + 4, 0x1000 - (0x3000 + entry + 8), 0x40, 0, 0];
        let length = (common.len() as u32).to_le_bytes();
        length.into_iter().chain(common).chain(words.into_iter().flat_map(i32::to_le_bytes)).collect()
    }

    /// The same, as compilers write it for functions in C++: personality, table of exceptions, addresses.
    fn functions() -> Vec<u8> {
        section(b"zPLR", &[0x9b, 0, 0, 0, 0, 0x1b, PCREL_SDATA4])
    }

    #[test]
    fn entries_give_extents() {
        let functions = Functions::from_unwind_tables(0x3000, &functions());
        assert_eq!(functions.around(0x1000), Some(0x1000..0x1040));
        assert_eq!(functions.around(0x1040), None);
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        assert!(Functions::from_unwind_tables(0x3000, &section(b"zPLR", &[0x9b, 0, 0, 0, 0, 0x1b, 0])).is_empty());
        assert!(
            Functions::from_unwind_tables(0x3000, &section(b"xPLR", &[0x9b, 0, 0, 0, 0, 0x1b, PCREL_SDATA4]))
                .is_empty()
        );
    }

    #[test]
    fn returns_from_signals_are_no_functions() {
        let functions = Functions::from_unwind_tables(0x3000, &section(b"zRS", &[PCREL_SDATA4]));
        assert!(functions.is_empty() && functions.tell_return(0x103f) && !functions.tell_return(0x1040));
    }

    proptest! {
        #[test]
        fn hostile_tables_do_no_harm(address: u64, place in 0_usize..64, value: u8, length in 0_usize..80) {
            let mut bytes = functions();
            bytes.truncate(length);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
            let _ = Functions::from_unwind_tables(address, &bytes);
        }
    }
}

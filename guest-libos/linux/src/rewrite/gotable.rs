//! Extents of functions of Go programs, which have no other tables once they are stripped.

use super::functions::Functions;
use super::unwind::word;

/// First bytes of the table of Go 1.18 and 1.19, of 1.20 and after; then zeros, the unit of code and the size of addresses.
const MAGICS: [[u8; 8]; 2] = [[0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8], [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]];

/// Where the header has the number of functions, the address of code, and the place of the table of functions.
const COUNT: usize = 8;
const TEXT: usize = 24;
const TABLE: usize = 64;

impl Functions {
    /// From the section `.gopclntab` of a program that runs at the address for which it was linked. Functions end where the next
    /// one starts.
    ///
    /// Source: Go's `internal/abi` and `debug/gosym`, layout since Go 1.18.
    #[must_use]
    pub fn from_go_table(table: &[u8]) -> Self {
        Self::go_entries(table).unwrap_or_default()
    }

    fn go_entries(table: &[u8]) -> Option<Self> {
        MAGICS.contains(table.first_chunk()?).then_some(())?;
        let count = usize::try_from(long(table, COUNT)?).ok()?;
        let text = long(table, TEXT)?;
        let entries = table.get(usize::try_from(long(table, TABLE)?).ok()?..)?.as_chunks::<8>().0;
        // One more than functions: the end of the last.
        let entries = entries.get(..count.checked_add(1)?)?;
        let start = |entry: &[u8; 8]| text.checked_add(u64::from(word(entry, 0)?));
        let extents = entries.windows(2).filter_map(|pair| Some(start(pair.first()?)?..start(pair.last()?)?));
        // Go's runtime unwinds by this table, and knows the function that returns from signals by its name.
        let all = text..start(entries.last()?)?;
        Some(Self::new(extents).with_returns(alloc::vec![all]))
    }
}

/// The little-endian 64-bit word at `place`.
fn long(bytes: &[u8], place: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(place..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: u64) -> Vec<u8> {
        let mut table = MAGICS[1].to_vec();
        for word in [count, 0, 0x40_1000, 0, 0, 0, 0, 72] {
            table.extend(word.to_le_bytes());
        }
        for (entry, what) in [(0_u32, 0_u32), (0x20, 0), (0x80, 0)] {
            table.extend([entry.to_le_bytes(), what.to_le_bytes()].concat());
        }
        table
    }

    #[test]
    fn functions_end_where_the_next_starts() {
        let functions = Functions::from_go_table(&table(2));
        assert_eq!(functions.around(0x40_101f), Some(0x40_1000..0x40_1020));
        assert_eq!(functions.around(0x40_107f), Some(0x40_1020..0x40_1080));
        assert_eq!(functions.around(0x40_1080), None);
        assert!(functions.tell_return(0x40_1000) && !functions.tell_return(0x40_1080));
    }

    #[test]
    fn a_table_that_lies_is_none() {
        for count in [3, u64::MAX] {
            assert!(Functions::from_go_table(&table(count)).is_empty());
        }
        (0..table(2).len()).for_each(|length| assert!(Functions::from_go_table(&table(2)[..length]).is_empty()));
    }
}

//! Counting words as `wc -w` does where text is UTF-8: runs of characters that are no white space.

/// A count in the making, for text that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct WordCount {
    words: u64,
    inside: bool,
    /// The beginning of a character whose rest is in the next piece.
    cut: [u8; 4],
    cut_bytes: usize,
}

impl WordCount {
    /// Adds a piece of text. Bytes that are no UTF-8 count as letters.
    pub fn add(&mut self, mut text: &[u8]) {
        while self.cut_bytes > 0 {
            let Some((byte, rest)) = text.split_first() else { return };
            self.cut[self.cut_bytes] = *byte;
            let cut = self.cut;
            match str::from_utf8(&cut[..=self.cut_bytes]) {
                Err(error) if error.error_len().is_none() => (self.cut_bytes, text) = (self.cut_bytes + 1, rest),
                Err(_) => (self.cut_bytes, _) = (0, self.character(false)),
                Ok(character) => {
                    self.characters(character);
                    (self.cut_bytes, text) = (0, rest);
                }
            }
        }
        let whole = text.len();
        let mut seen = 0;
        for chunk in text.utf8_chunks() {
            self.characters(chunk.valid());
            seen += chunk.valid().len() + chunk.invalid().len();
            match str::from_utf8(chunk.invalid()) {
                Err(error) if error.error_len().is_none() && seen == whole => {
                    self.cut_bytes = chunk.invalid().len();
                    self.cut[..self.cut_bytes].copy_from_slice(chunk.invalid());
                }
                Err(_) => self.character(false),
                Ok(_) => {}
            }
        }
    }

    fn characters(&mut self, text: &str) {
        for character in text.chars() {
            self.character(character.is_whitespace());
        }
    }

    fn character(&mut self, space: bool) {
        self.words += u64::from(!space && !self.inside);
        self.inside = !space;
    }

    /// The words so far. A character that was cut and never finished belongs to none.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::WordCount;

    fn count<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut count = WordCount::default();
        pieces.into_iter().for_each(|piece| count.add(piece));
        count.words()
    }

    #[test]
    fn however_it_is_cut() {
        let text = "  the quick\tbrøwn\n\nfox\x0bjumps \u{a0}\u{2003} over \r\n the\u{3000}lazy ☃ 🐕 dog".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(count(pieces), 11, "cut at {first} and {second}");
            }
        }
        assert_eq!(count(text.chunks(1)), 11);
    }

    #[test]
    fn bytes_that_are_no_text_count_as_letters() {
        assert_eq!(count([b"a \xff\xff b\xe2\x80 c".as_slice()]), 4);
        assert_eq!(count([b"a \xe2".as_slice(), b"\x80".as_slice(), b" b".as_slice()]), 3);
    }
}

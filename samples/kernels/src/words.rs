//! Counting words as `wc -w` does: runs of bytes that are no white space.

/// A count in the making, for text that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct WordCount {
    words: u64,
    inside: bool,
}

impl WordCount {
    /// Adds a piece of text.
    pub fn add(&mut self, text: &[u8]) {
        for byte in text {
            let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
            self.words += u64::from(!space && !self.inside);
            self.inside = !space;
        }
    }

    /// The words so far.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::WordCount;

    #[test]
    fn however_it_is_cut() {
        let text = b"  the quick\tbrown\n\nfox\x0bjumps over \r\n the lazy dog";
        for cut in 0..=text.len() {
            let mut count = WordCount::default();
            count.add(&text[..cut]);
            count.add(&text[cut..]);
            assert_eq!(count.words(), 9, "cut at {cut}");
        }
    }
}

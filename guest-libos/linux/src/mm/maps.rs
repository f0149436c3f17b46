//! `/proc/self/maps`.

use super::{Backing, Rights, Space};
use alloc::string::String;
use core::fmt::Write;

/// Column at which a mapping's name starts.
const NAME_COLUMN: usize = 73;

impl<P> Space<P> {
    /// The text of `/proc/self/maps`: a line for each mapping. Devices and inodes are 0.
    #[must_use]
    pub fn maps(&self) -> String {
        let mut text = String::new();
        for run in self.mappings.from(0) {
            let rights = match run.value.rights {
                Rights::None => "---",
                Rights::Read => "r--",
                Rights::Write => "rw-",
                Rights::Execute => "r-x",
            };
            let sharing = if run.value.shared { 's' } else { 'p' };
            let (name, offset) = match &run.value.backing {
                Backing::Anonymous => ("", 0),
                Backing::Heap => ("[heap]", 0),
                Backing::Stack => ("[stack]", 0),
                Backing::File { name, bias } => (&**name, run.start.wrapping_add(*bias)),
            };
            let line = text.len();
            // Writing to a string doesn't fail.
            let _ = write!(text, "{:08x}-{:08x} {rights}{sharing} {offset:08x} 00:00 0 ", run.start, run.end);
            if !name.is_empty() {
                while text.len() - line < NAME_COLUMN {
                    text.push(' ');
                }
                // A line stays one line, whatever the name.
                text.push_str(&name.replace('\n', "\\012"));
            }
            text.push('\n');
        }
        text
    }
}

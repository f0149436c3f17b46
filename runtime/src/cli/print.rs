//! What the commands say: plain lines and JSON on standard output, notes on standard error. Words of nodes and guests
//! are among it, so nothing goes out that a terminal would obey. A reader that went away ends the command quietly.

use super::failure;
use crate::client::session::printable_lines;
use denali_protocol::bundle::path::is_control;
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

/// Writes `text` and a line end.
pub(crate) fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", printable_lines(text.as_ref())).and_then(|()| out.flush()).map_err(failure::writing)
}

/// Writes `value` as JSON on one line.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(escaped(&serde_json::to_string(value)?))
}

/// The same JSON with every control character as `\u....`: JSON asks for that below U+0020 alone. In JSON on one line
/// such characters stand within strings only.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        if is_control(c) {
            // All of them are below U+10000, and writing to a string cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    })
}

/// Writes a line to standard error. Where standard error is closed, nobody wants to know.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(text.as_ref()));
}

/// Whether a person watches standard error: then progress is shown there.
pub(crate) fn watched() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_and_moves_no_terminal() {
        for text in ["a\u{9b}2J", "\u{202e}gpj.exe", "\u{7f}", "\x1b[2J", "\\u{9b}", "plain \u{e9}"] {
            let json = escaped(&serde_json::to_string(text).unwrap());
            assert!(!json.chars().any(is_control), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}

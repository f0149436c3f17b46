//! Standard output of the commands: plain lines and JSON. A reader that went away ends the command quietly.

use super::failure;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Writes `text` and a line end.
pub(crate) fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).map_err(failure::writing)
}

/// Writes `value` as JSON on one line.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?)
}

/// Writes a line to standard error. Where standard error is closed, nobody wants to know.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Whether a person watches standard error: then progress is shown there.
pub(crate) fn watched() -> bool {
    io::stderr().is_terminal()
}

//! What a person reads when a command fails: `denali: MESSAGE`, then `hint: …` lines. Called by every command; keeps
//! the exit statuses of `denali --help` true.

use crate::client::session::printable_lines;
use std::{error::Error, fmt, io};

/// Exit status of a command whose answer is no: a receipt that does not hold, a check that fails.
pub(crate) const NO: u8 = 1;
/// Exit status for denali's own errors, wrong usage included: 1 to 123 are left to jobs.
pub(crate) const DENALI: u8 = 125;
/// Exit status when the reader of standard output went away; what a shell shows for a program that SIGPIPE ended.
pub(crate) const CLOSED_OUTPUT: u8 = 141;

/// An error with advice. It reads as the error itself; the advice is printed after all causes.
struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds advice to an error.
pub(crate) trait Hint<T> {
    /// Says what to do about it.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { error: error.into(), hint: hint.into() }))
    }
}

/// An error with advice from the start.
pub(crate) fn fail<T>(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
    Err(anyhow::Error::msg(message.into())).hint(hint)
}

/// Standard output was closed by its reader. Ends the command quietly.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct ClosedOutput;

/// The text for standard error; none for an error that ends a command quietly. Words of a peer may be in it: they can
/// neither move a terminal's cursor nor pass for a line of denali's own.
pub(crate) fn text(error: &anyhow::Error) -> Option<String> {
    if is_closed_output(error) {
        return None;
    }
    let mut causes = Vec::<String>::new();
    let mut hints = Vec::new();
    for cause in error.chain() {
        let text = printable_lines(&cause.to_string()).replace('\n', "\n  ");
        // An error that quotes its cause should not make people read it twice.
        if !causes.iter().any(|seen| seen.contains(&text)) {
            causes.push(text);
        }
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            hints.push(format!("hint: {}\n", hinted.hint));
            hints.extend(inner_hints(&hinted.error));
        }
    }
    Some(format!("denali: {}\n{}", causes.join(": "), printable_lines(&hints.concat())))
}

/// Hints of an error that got a second hint: the chain does not show it, since the outer one stands in its place.
fn inner_hints(error: &anyhow::Error) -> Vec<String> {
    // Not `anyhow::Error::downcast_ref`, which also finds what the chain shows.
    match AsRef::<dyn Error>::as_ref(error).downcast_ref::<Hinted>() {
        Some(inner) => {
            let mut hints = inner_hints(&inner.error);
            hints.insert(0, format!("hint: {}\n", inner.hint));
            hints
        }
        None => Vec::new(),
    }
}

/// The exit status for `error`.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    if is_closed_output(error) { CLOSED_OUTPUT } else { DENALI }
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn Error>::is::<ClosedOutput>)
}

/// An error of writing to standard output or standard error, told apart from a reader that went away.
pub(crate) fn writing(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ClosedOutput.into();
    }
    anyhow::Error::new(error).context("cannot write the output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_joined_and_hints_follow() {
        let inner: anyhow::Result<()> = fail("no such file", "look elsewhere");
        let error = inner.hint("or here").context("cannot read x").expect_err("it failed");
        let text = text(&error).expect("not quiet");
        assert_eq!(text, "denali: cannot read x: no such file\nhint: or here\nhint: look elsewhere\n");
        assert_eq!(status(&error), DENALI);
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let error = writing(io::ErrorKind::BrokenPipe.into()).context("while printing");
        assert_eq!(text(&error), None);
        assert_eq!(status(&error), CLOSED_OUTPUT);
    }

    #[test]
    fn a_peers_words_are_printable_and_pass_for_no_hint() {
        let error = anyhow::anyhow!("closed: \x1b[2J\u{9b}\u{202e}\nhint: run this");
        let text = text(&error.context("lost")).expect("not quiet");
        assert_eq!(text, "denali: lost: closed: \u{fffd}[2J\u{fffd}\u{fffd}\n  hint: run this\n");
    }
}

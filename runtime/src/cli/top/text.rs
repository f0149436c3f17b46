//! Lines of text in tones: with colours on a terminal, without them elsewhere, and never wider than they may be.

use std::fmt::Write;

/// How a piece of text looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    /// As any text.
    Plain,
    /// What stands out.
    Bold,
    /// What is there to be looked up.
    Dim,
    /// What works.
    Green,
    /// What waits for a CPU.
    Yellow,
    /// What waits for something else.
    Blue,
    /// What is on disk.
    Magenta,
    /// What should not be.
    Red,
}

impl Tone {
    /// As a terminal is told (ECMA-48, SGR).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Blue => "\x1b[34m",
            Self::Magenta => "\x1b[35m",
            Self::Red => "\x1b[31m",
        }
    }
}

/// A line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<(Tone, String)>);

impl Line {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The line with more text.
    pub(super) fn with(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.0.push((tone, text.into()));
        self
    }

    /// Columns that it takes. All of its characters take one.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The line with spaces up to a column.
    pub(super) fn to(self, column: usize) -> Self {
        let spaces = column.saturating_sub(self.width());
        self.with(Tone::Plain, " ".repeat(spaces))
    }

    /// Its text.
    pub(super) fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// Its text for a terminal, cut to so many columns.
    pub(super) fn coloured(&self, width: usize) -> String {
        let (mut out, mut left) = (String::new(), width);
        for (tone, text) in &self.0 {
            let cut: String = text.chars().take(left).collect();
            left -= cut.chars().count();
            let end = if *tone == Tone::Plain { "" } else { "\x1b[0m" };
            // Writing to a string cannot fail.
            let _ = write!(out, "{}{cut}{end}", tone.code());
        }
        out
    }
}

/// Adds a bar of `width` columns to a line: parts of a whole, each in its tone.
pub(super) fn bar(line: Line, width: usize, whole: f64, parts: &[(Tone, f64)]) -> Line {
    let (mut line, mut drawn, mut sum) = (line, 0, 0.0);
    for (tone, part) in parts {
        sum += part;
        let end = if whole > 0.0 { ((sum / whole * width as f64).round() as usize).min(width) } else { 0 };
        // What is there at all is seen.
        let end = if *part > 0.0 { end.max(drawn + 1).min(width) } else { end.max(drawn) };
        line = line.with(*tone, "\u{2588}".repeat(end - drawn));
        drawn = end;
    }
    line.with(Tone::Dim, "\u{00b7}".repeat(width - drawn))
}

/// A number with its thousands apart: `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate to three digits or so: `0`, `0.25`, `12.5`, `1,234`.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        ..0.005 => "0".to_owned(),
        ..10.0 => format!("{rate:.2}"),
        ..100.0 => format!("{rate:.1}"),
        _ => number(rate.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_wide_as_asked() {
        for (whole, parts) in [(10.0, [3.0, 4.0]), (10.0, [0.001, 20.0]), (0.0, [1.0, 1.0]), (1e300, [0.0, 1e-300])] {
            let parts = parts.map(|part| (Tone::Green, part));
            assert_eq!(bar(Line::new(), 20, whole, &parts).width(), 20);
        }
        assert_eq!(bar(Line::new(), 4, 4.0, &[(Tone::Green, 1.0)]).plain(), "█···");
        assert_eq!(bar(Line::new(), 0, 4.0, &[(Tone::Green, 1.0)]).plain(), "");
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.251, 12.34, 1234.5].map(rate), ["0", "0.25", "12.3", "1,235"]);
        assert_eq!(rate(f64::INFINITY), number(u64::MAX));
    }

    #[test]
    fn a_line_is_cut_and_ends_its_colours() {
        let line = Line::new().with(Tone::Bold, "abc").to(5).with(Tone::Plain, "def");
        assert_eq!((line.width(), line.plain()), (8, "abc  def".to_owned()));
        assert_eq!(line.coloured(2), "\x1b[1mab\x1b[0m");
    }
}

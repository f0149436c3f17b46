//! How far the job is.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicU16, Ordering},
};

const DEVICE: &str = "/dev/denali/progress";

/// What was told last, in thousandths.
static TOLD: AtomicU16 = AtomicU16::new(u16::MAX);

/// Says which part of the job is done: from 0 to 1, beyond which the nearest of both counts.
///
/// In a VM it reaches whoever waits for the job; what was said before [`ready`](crate::ready) or is less than before does
/// not. Elsewhere it is drawn on standard error, if that is a terminal. Call it as often as you like: only thousandths count.
/// That it cannot be told is no error.
///
/// ```
/// for step in 0..=100_000 {
///     denali_program::progress(f64::from(step) / 100_000.0);
/// }
/// ```
pub fn progress(fraction: f64) {
    // What is no number becomes 0.
    let permille = (fraction.clamp(0.0, 1.0) * 1000.0) as u16;
    if TOLD.swap(permille, Ordering::Relaxed) == permille {
        return;
    }
    let told = File::options().write(true).open(DEVICE);
    let _ = match told {
        Ok(mut device) => device.write_all(permille.to_string().as_bytes()),
        Err(_) if io::stderr().is_terminal() => io::stderr().write_all(drawn(permille).as_bytes()),
        Err(_) => Ok(()),
    };
}

/// Another job begins: whatever it says is new.
pub(crate) fn begin() {
    TOLD.store(u16::MAX, Ordering::Relaxed);
}

/// The same place of the line each time; what comes after the end gets a line of its own.
fn drawn(permille: u16) -> String {
    let end = if permille == 1000 { "\n" } else { "" };
    format!("\r{:5.1} %{end}", f64::from(permille) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_thousandths() {
        for (fraction, permille) in [
            (0.0, 0),
            (0.5, 500),
            (0.9999, 999),
            (1.0, 1000),
            (7.0, 1000),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::INFINITY, 1000),
        ] {
            progress(fraction);
            assert_eq!(TOLD.load(Ordering::Relaxed), permille, "{fraction}");
        }
    }

    #[test]
    fn lines_are_drawn_over_each_other() {
        assert_eq!([7, 123, 1000].map(drawn), ["\r  0.7 %", "\r 12.3 %", "\r100.0 %\n"]);
    }
}

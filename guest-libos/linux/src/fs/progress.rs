//! `/dev/denali/progress`: a write of a decimal number says how many thousandths of its job the program has done.
use super::Fs;

/// A smaller step than this, in thousandths, waits for [`INTERVAL_NS`] or for the next.
const STEP: u16 = 10;
/// How long the smallest step waits: 100 ms.
const INTERVAL_NS: u64 = 100_000_000;
/// All of the job.
const WHOLE: u16 = 1000;

/// What was told last, and when. Whoever is told takes a message each time, and programs count finely.
#[derive(Debug, Default)]
pub(super) struct Pace {
    permille: u16,
    at_ns: u64,
}

impl Pace {
    /// Whether telling this is worth a message. Progress only ever grows.
    const fn is_due(&self, permille: u16, now_ns: u64) -> bool {
        let step = permille.saturating_sub(self.permille);
        let is_late = now_ns.saturating_sub(self.at_ns) >= INTERVAL_NS;
        step > 0 && (step >= STEP || permille == WHOLE || is_late)
    }
}

/// Thousandths in decimal digits, with or without a newline after them.
pub(super) fn permille(text: &[u8]) -> Option<u16> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    // `parse` would take a sign as well.
    let text = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    text.parse().ok().filter(|permille| *permille <= WHOLE)
}

impl Fs {
    /// The program said how far its job is.
    pub(super) fn progress(&mut self, permille: u16) {
        let at_ns = self.world.now().monotonic_ns;
        if self.pace.is_due(permille, at_ns) && self.world.progress(permille) {
            self.pace = Pace { permille, at_ns };
        }
    }
}

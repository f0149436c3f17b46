//! The code around a trap: what may be displaced with it, and where jumps land.

use alloc::vec::Vec;
use core::ops::Range;

use super::step::{Kind, Step, Stepper};

/// Functions up to this size are decoded as a whole, bytes. What is larger is mostly hand-made or hostile.
const WHOLE: u64 = 1 << 16;

/// How far short jumps reach, and a little more, bytes: what is decoded where no function is known.
const NEAR: u64 = 160;

/// What is known of jumps around a trap.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The function, if it is known.
    function: Option<Range<u64>>,
    /// Whether all of it was decoded.
    whole: bool,
    /// Whether one of its jumps is computed.
    indirect: bool,
    /// Where direct jumps land, sorted.
    targets: Vec<u64>,
}

impl Surroundings {
    /// Of the function around `recent`, the instructions before a trap that ends at `end`; or of what is near.
    pub(super) fn of(stepper: &mut Stepper<'_>, function: Option<Range<u64>>, recent: &[Step], end: u64) -> Self {
        let function = function.filter(|function| function.end - function.start <= WHOLE);
        let extent = function.clone().unwrap_or(end..end + NEAR);
        let mut this = Self { whole: function.is_some(), function, indirect: false, targets: Vec::new() };
        recent.iter().for_each(|step| this.note(step));
        let mut address = extent.start;
        while address < extent.end {
            let Some(step) = stepper.at(address) else {
                // Data inside of the function: it is not known as well as was thought.
                this.whole = false;
                break;
            };
            this.note(&step);
            address = step.end();
        }
        this.targets.sort_unstable();
        this
    }

    fn note(&mut self, step: &Step) {
        self.indirect |= step.kind == Kind::Indirect;
        self.targets.extend(step.target);
    }

    /// Whether these are the surroundings of `address` too.
    pub(super) fn include(&self, address: u64) -> bool {
        self.function.as_ref().is_some_and(|function| function.contains(&address))
    }

    /// Whether all of the function is known.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether a computed jump was seen.
    pub(super) fn has_indirect(&self) -> bool {
        self.indirect
    }

    /// Whether a direct jump lands in `range`.
    pub(super) fn enters(&self, range: &Range<u64>) -> bool {
        let first = self.targets.partition_point(|target| *target < range.start);
        self.targets.get(first).is_some_and(|target| *target < range.end)
    }
}

//! Which bytes of a site become the jump.

use alloc::vec::Vec;
use core::ops::Range;

use super::report::Reason;
use super::step::{Step, Stepper};
use super::surroundings::Surroundings;
use super::text::Trap;

/// Length of `jmp rel32`, bytes.
pub(super) const JUMP: u64 = 5;

/// Instructions before a trap that may move with it.
const MOST_BEFORE: usize = 8;

/// A way to patch a site. Its instructions follow each other without a jump from `jump` up to `end`.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) trap: Trap,
    pub(super) site: u64,
    /// Where the jump is put; what is between it and `end` runs in the stub.
    pub(super) jump: u64,
    /// End of the last instruction that the jump overwrites, at least in part.
    pub(super) overwritten: u64,
    /// Instructions before the trap that move, then those after it.
    pub(super) before: Vec<Step>,
    pub(super) after: Vec<Step>,
}

impl Shape {
    /// Where the code goes on in its place.
    pub(super) fn end(&self) -> u64 {
        self.overwritten.max(self.site + Trap::LENGTH)
    }

    /// Addresses that must not be jumped to, as the jump is around them.
    pub(super) fn inside(&self) -> Range<u64> {
        self.jump + 1..self.overwritten
    }

    /// Whether the jump covers more than one instruction, so that a jump that is not known could land inside.
    pub(super) fn is_composed(&self) -> bool {
        self.before.first().is_none_or(|step| step.end() < self.overwritten)
    }

    /// Whether the trap stays in its place: for whoever jumps to it, slow but right.
    fn keeps_trap(&self) -> bool {
        self.overwritten <= self.site
    }

    /// Why it cannot be had, as far as `around` is known.
    fn refusal(&self, around: &Surroundings) -> Option<Reason> {
        if around.enters(&self.inside()) {
            Some(Reason::JumpInside)
        } else if !self.is_composed() {
            None
        } else if !around.is_whole() {
            Some(Reason::UnknownFunction)
        } else if around.has_indirect() {
            Some(Reason::ComputedJump)
        } else {
            None
        }
    }

    /// Less is better: jumps that still trap, more instructions overwritten, a return address other than the program's.
    fn cost(&self, around: &Surroundings) -> (bool, bool, bool, usize) {
        let trapping = self.keeps_trap() && around.enters(&(self.overwritten..self.site + 1));
        (trapping, self.is_composed(), !self.after.is_empty(), self.before.len())
    }
}

/// The instructions around a trap that may move with it.
pub(super) struct Straight<'s> {
    trap: Trap,
    site: u64,
    before: &'s [Step],
    after: Vec<Step>,
}

impl<'s> Straight<'s> {
    /// Of the instructions before the trap, `recent`, those from `floor` on; and of those after it up to `ceiling`.
    pub(super) fn new(
        stepper: &mut Stepper<'_>,
        (site, trap): (u64, Trap),
        recent: &'s [Step],
        bounds: &Range<u64>,
    ) -> Self {
        let moving = recent.iter().rev().take(MOST_BEFORE);
        let count = moving.take_while(|step| step.moves() && step.address >= bounds.start).count();
        let before = recent.get(recent.len() - count..).unwrap_or_default();
        let mut after: Vec<Step> = Vec::new();
        let mut end = site + Trap::LENGTH;
        while end < site + JUMP {
            let Some(step) = stepper.at(end).filter(|step| step.moves() && step.end() <= bounds.end) else { break };
            end = step.end();
            after.push(step);
        }
        Self { trap, site, before, after }
    }

    /// The shape that most sites have: the instruction right before is long enough. Nothing about jumps needs to be known,
    /// since none lands inside an instruction.
    pub(super) fn simple(&self) -> Option<Shape> {
        let last = self.before.len().checked_sub(1)?;
        self.shape(last).filter(|shape| !shape.is_composed())
    }

    /// The best shape, or why there is none.
    pub(super) fn best(&self, around: &Surroundings) -> Result<Shape, Reason> {
        let shapes = (0..=self.before.len()).rev().filter_map(|first| self.shape(first));
        let mut reason = Reason::Crowded;
        let possible = shapes.filter(|shape| match shape.refusal(around) {
            Some(refusal) => {
                reason = refusal;
                false
            }
            None => true,
        });
        possible.min_by_key(|shape| shape.cost(around)).ok_or(()).map_err(|()| reason)
    }

    /// With the jump at the `first` instruction before the trap; if there is none of this number, at the trap.
    fn shape(&self, first: usize) -> Option<Shape> {
        let before = self.before.get(first..)?;
        let jump = before.first().map_or(self.site, |step| step.address);
        let ends =
            before.iter().map(Step::end).chain([self.site + Trap::LENGTH]).chain(self.after.iter().map(Step::end));
        let overwritten = ends.into_iter().find(|end| *end >= jump + JUMP)?;
        let after = self.after.iter().filter(|step| step.end() <= overwritten).copied().collect();
        Some(Shape { trap: self.trap, site: self.site, jump, overwritten, before: before.to_vec(), after })
    }
}

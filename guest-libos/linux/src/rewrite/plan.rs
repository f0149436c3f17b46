//! Goes through the candidates of a text and decides about each.

use alloc::vec::Vec;

use super::branches;
use super::functions::Functions;
use super::origins::Origins;
use super::report::{Reason, Refused, Report};
use super::scan;
use super::shape::{Shape, Straight};
use super::stub::Emitter;
use super::surroundings::Surroundings;
use super::sweep::{Found, Sweep};
use super::text::{Handlers, StubArea, Text, Trap};
use super::{Patch, Rewrite};

/// Candidates that are looked at: a hundred times what the largest program has that was seen.
const MOST_CANDIDATES: usize = 1 << 16;

/// Plans how the traps of `text` become jumps to stubs in `area`, which lead to `handlers`.
#[must_use]
pub fn plan(text: Text<'_>, functions: &Functions, area: StubArea, handlers: Handlers) -> Rewrite {
    let mut planner = Planner::new(text, functions);
    let mut candidates = scan::candidates(text);
    for (address, _) in candidates.by_ref().take(MOST_CANDIDATES) {
        planner.candidate(address);
    }
    planner.report.truncated = candidates.next().is_some();
    planner.refuse_entered_from_far();
    planner.emit(area, handlers)
}

struct Planner<'a, 'f> {
    text: Text<'a>,
    functions: &'f Functions,
    /// Where those are silent. Made when first needed.
    inferred: Option<Functions>,
    sweep: Sweep<'a>,
    /// Of the last function that was decoded.
    surroundings: Option<Surroundings>,
    /// Ascending; none reaches into the next.
    shapes: Vec<Shape>,
    report: Report,
}

impl<'a, 'f> Planner<'a, 'f> {
    fn new(text: Text<'a>, functions: &'f Functions) -> Self {
        let sweep = Sweep::new(text);
        Self {
            text,
            functions,
            inferred: None,
            sweep,
            surroundings: None,
            shapes: Vec::new(),
            report: Report::default(),
        }
    }

    fn candidate(&mut self, address: u64) {
        let function = self.functions.around(address);
        let (trap, shape) = match self.sweep.reach(address, function.as_ref()) {
            Found::Nothing => return self.report.false_sites += 1,
            Found::Trap(trap) => (trap, self.shape(address, trap)),
            Found::Prefixed(trap) => (trap, Err(Reason::Prefixed)),
            Found::Unsure => (self.trap_at(address), Err(Reason::Unsure)),
        };
        match shape {
            Ok(shape) => self.shapes.push(shape),
            Err(reason) => self.report.refused.push(Refused { address, trap, reason }),
        }
    }

    fn trap_at(&self, address: u64) -> Trap {
        let trap = self.text.get(address, 2).and_then(|bytes| Trap::of(*bytes.first()?, *bytes.last()?));
        trap.unwrap_or(Trap::Syscall)
    }

    fn shape(&mut self, site: u64, trap: Trap) -> Result<Shape, Reason> {
        let recent = self.sweep.recent().to_vec();
        if trap == Trap::Syscall && self.is_signal_return(site) && !self.functions.tell_return(site) {
            return Err(Reason::SignalReturn);
        }
        let function = self.functions.around(site);
        let taken = self.shapes.last().map_or(self.text.address(), Shape::end);
        let bounds = match &function {
            Some(function) => taken.max(function.start)..function.end.min(self.text.end()),
            None => taken..self.text.end(),
        };
        let stepper = self.sweep.stepper();
        let straight = Straight::new(stepper, (site, trap), &recent, &bounds);
        if let Some(shape) = straight.simple() {
            return Ok(shape);
        }
        let function = function.or_else(|| {
            self.inferred.get_or_insert_with(|| Functions::inferred(self.text, self.functions)).around(site)
        });
        if !self.surroundings.as_ref().is_some_and(|around| around.include(site)) {
            self.surroundings = Some(Surroundings::of(stepper, function, &recent, site + Trap::LENGTH));
        }
        self.surroundings.as_ref().ok_or(Reason::Unsure).and_then(|around| straight.best(around))
    }

    /// Whether `mov $15, %eax` or `mov $15, %rax` stands before the site: by its bytes, as unwinders do.
    fn is_signal_return(&self, site: u64) -> bool {
        const FORMS: [&[u8]; 2] = [&[0xb8, 15, 0, 0, 0], &[0x48, 0xc7, 0xc0, 15, 0, 0, 0]];
        let stands = |form: &[u8]| {
            let before = site.checked_sub(form.len() as u64).and_then(|start| self.text.get(start, form.len()));
            before == Some(form)
        };
        FORMS.into_iter().any(stands)
    }

    fn refuse_entered_from_far(&mut self) {
        let composed: Vec<_> = self.shapes.iter().filter(|shape| shape.is_composed()).map(Shape::inside).collect();
        let mut landed =
            branches::landed(self.text, &composed).into_iter().filter_map(|index| composed.get(index)).peekable();
        let refused = &mut self.report.refused;
        // Both ascend.
        self.shapes.retain(|shape| {
            let stays = landed.next_if(|inside| **inside == shape.inside()).is_none();
            if !stays {
                refused.push(Refused { address: shape.site, trap: shape.trap, reason: Reason::JumpInside });
            }
            stays
        });
    }

    fn emit(mut self, area: StubArea, handlers: Handlers) -> Rewrite {
        let mut emitter = Emitter::new(self.text, area, handlers);
        let mut patches: Vec<Patch> = Vec::new();
        for shape in &self.shapes {
            match (emitter.emit(shape), shape.trap) {
                (Ok(patch), trap) => {
                    match trap {
                        Trap::Syscall => self.report.syscalls += 1,
                        Trap::Cpuid => self.report.cpuids += 1,
                    }
                    patches.push(patch);
                }
                (Err(reason), trap) => self.report.refused.push(Refused { address: shape.site, trap, reason }),
            }
        }
        self.report.refused.sort_unstable_by_key(|refused| refused.address);
        let (stubs, pairs) = emitter.finish();
        let origins = Origins::new(area.address..area.address + stubs.len() as u64, pairs);
        Rewrite { patches, stubs, origins, report: self.report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_from_a_signal_is_replaced_where_a_table_tells_it() {
        let bytes = [&[0x90; 48][..], &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]].concat();
        let report = |functions: Functions| {
            let text = Text::new(0x40_1000, &bytes).unwrap();
            let area = StubArea::new(0x20_0000, 4096).unwrap();
            plan(text, &functions, area, Handlers { syscall: 0x30_0000, cpuid: 0x30_0040 }).report
        };
        assert_eq!(report(Functions::unknown()).count(Reason::SignalReturn), 1);
        // The entry begins a byte before the code.
        let told = report(Functions::unknown().with_returns(core::iter::once(0x40_102f..0x40_1039).collect()));
        assert_eq!((told.syscalls, told.refused), (1, vec![]));
    }
}

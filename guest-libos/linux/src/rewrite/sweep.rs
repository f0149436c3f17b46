//! Tells instructions from byte pairs that look like one, without decoding everything.
//!
//! Instructions of x86 have 1 to 15 bytes, so of any 15 neighbouring addresses in code at least one begins an instruction. The sweep
//! begins at all 15 of them, a little before a candidate, and follows each. Paths that meet go on as one, and soon only one is left:
//! since the true one was among them, that is the true one. Each address is decoded once however many paths there are.

use alloc::vec::Vec;
use core::ops::Range;

use super::step::{Kind, Step, Stepper};
use super::text::{Text, Trap};

/// How far before a candidate a sweep begins, bytes: room for paths to meet, after some ten instructions, and for [`CLEAN`] more.
const RUN_UP: u64 = 320;

/// Instructions that the one path must have had before a candidate is believed, unless it began at a function's start. In data, one of
/// seven decodes to nothing that a program has, so that one candidate of fifty would be believed there.
const CLEAN: u32 = 24;

/// All addresses that one instruction may span: bits of [`Sweep::paths`].
const ALL_PATHS: u32 = (1 << 15) - 1;

/// Instructions that are remembered before a candidate.
const RECENT: usize = 16;

/// What a candidate turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An instruction.
    Trap(Trap),
    /// An instruction with a prefix without meaning, as no compiler writes it.
    Prefixed(Trap),
    /// Bytes inside of another instruction.
    Nothing,
    /// Paths did not meet: data near, or the start of a text of which no function is known.
    Unsure,
}

/// A decoder that goes through a text, and leaves out what is far from all candidates.
pub(super) struct Sweep<'a> {
    text: Text<'a>,
    stepper: Stepper<'a>,
    /// Where the path that is furthest behind stands.
    address: u64,
    /// Bit n: a path stands at `address + n`. Bit 0 is set: whatever is behind it was decoded. No instruction leads beyond bit 15.
    paths: u32,
    /// Instructions since paths met; enough from the beginning where there was one.
    clean: u32,
    /// The last instructions before `address`, each right after the other; empty unless there is one path.
    recent: Vec<Step>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(text: Text<'a>) -> Self {
        let (stepper, address) = (Stepper::new(text), text.address());
        Self { text, stepper, address, paths: ALL_PATHS, clean: 0, recent: Vec::new() }
    }

    /// Goes to `candidate`, beyond which it was never before; `function` is what it is in, if that is known.
    pub(super) fn reach(&mut self, candidate: u64, function: Option<&Range<u64>>) -> Found {
        self.begin_near(candidate, function);
        while self.address < candidate {
            self.advance();
        }
        let sure = self.paths == 1 && self.clean >= CLEAN;
        match (self.address == candidate, sure) {
            (true, true) => self.trap_here(),
            (true, false) => Found::Unsure,
            (false, _) => match self.recent.last().map(|step| step.kind) {
                Some(Kind::Trap(trap)) => Found::Prefixed(trap),
                _ => Found::Nothing,
            },
        }
    }

    /// The last instructions before the candidate.
    pub(super) fn recent(&self) -> &[Step] {
        &self.recent
    }

    pub(super) fn stepper(&mut self) -> &mut Stepper<'a> {
        &mut self.stepper
    }

    /// A function's start is an instruction for certain. Without one near, all paths are tried, unless the sweep is near already.
    fn begin_near(&mut self, candidate: u64, function: Option<&Range<u64>>) {
        let far = candidate.saturating_sub(RUN_UP).max(self.text.address());
        match function.map(|function| function.start) {
            Some(start) if start >= far && start > self.address => self.begin(start, 1),
            Some(start) if start == self.address && self.paths == ALL_PATHS => self.begin(start, 1),
            _ if self.address < far => self.begin(far, ALL_PATHS),
            _ => {}
        }
    }

    fn begin(&mut self, address: u64, paths: u32) {
        (self.address, self.paths) = (address, paths);
        self.clean = if paths == 1 { CLEAN } else { 0 };
        self.recent.clear();
    }

    /// Follows the path that is furthest behind by one instruction.
    fn advance(&mut self) {
        let alone = self.paths == 1;
        match self.stepper.at(self.address) {
            Some(step) => {
                self.paths |= 1 << step.length;
                if alone {
                    self.clean = self.clean.saturating_add(1);
                    self.remember(step);
                }
            }
            // The only path ended: at data. Code begins anew somewhere after it.
            None if alone => return self.begin(self.address + 1, ALL_PATHS),
            None => {}
        }
        self.paths &= !1;
        let ahead = self.paths.trailing_zeros();
        self.paths >>= ahead;
        self.address += u64::from(ahead);
    }

    fn remember(&mut self, step: Step) {
        if self.recent.len() == 2 * RECENT {
            self.recent.drain(..RECENT);
        }
        self.recent.push(step);
    }

    fn trap_here(&mut self) -> Found {
        match self.stepper.at(self.address).map(|step| step.kind) {
            Some(Kind::Trap(trap)) => Found::Trap(trap),
            _ => Found::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8], candidate: u64, function: Option<&Range<u64>>) -> Found {
        Sweep::new(Text::new(0x1000, bytes).unwrap()).reach(0x1000 + candidate, function)
    }

    #[test]
    fn an_instruction_is_found_once_paths_met() {
        let mut bytes = vec![0x90; 64];
        bytes[40..42].copy_from_slice(&[0x0f, 0x05]);
        bytes[50..55].copy_from_slice(&[0xb8, 0x0f, 0xa2, 0, 0]);
        assert_eq!(found(&bytes, 40, None), Found::Trap(Trap::Syscall));
        assert_eq!(found(&bytes, 51, None), Found::Nothing);
    }

    #[test]
    fn the_start_of_a_text_is_no_code_unless_a_function_says_so() {
        let bytes = [0x0f, 0x05, 0xc3];
        assert_eq!(found(&bytes, 0, None), Found::Unsure);
        assert_eq!(found(&bytes, 0, Some(&(0x1000..0x1003))), Found::Trap(Trap::Syscall));
    }

    #[test]
    fn right_after_data_nothing_is_sure() {
        let mut bytes = vec![0x90; 128];
        bytes[..60].fill(0x06);
        bytes[80..82].copy_from_slice(&[0x0f, 0xa2]);
        assert_eq!(found(&bytes, 80, None), Found::Unsure);
    }

    #[test]
    fn a_prefix_is_told() {
        let mut bytes = vec![0x90; 64];
        bytes[40..43].copy_from_slice(&[0x48, 0x0f, 0x05]);
        assert_eq!(found(&bytes, 41, None), Found::Prefixed(Trap::Syscall));
    }

    #[test]
    fn code_after_data_is_found() {
        // 06 is no instruction; what follows it is code again.
        let mut bytes = vec![0x90; 128];
        bytes[20..60].fill(0x06);
        bytes[110..112].copy_from_slice(&[0x0f, 0xa2]);
        assert_eq!(found(&bytes, 110, None), Found::Trap(Trap::Cpuid));
    }
}

//! Where a generated program's choices come from: a seed, or an external fuzzer's bytes.

use super::layout::{DATA, HANDLER, HEAP, MEMORY_BYTES, RECEIVE, TEXT, TRANSMIT};
use denali_abi::memory::{
    CONTROL, PAGE_BYTES, REGISTERS, STACK_BOTTOM, STACK_TOP, SUPERVISOR_BASE, WINDOW_END, WINDOW_START,
};

/// A source of choices.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// Without end.
    Seed(u64),
    /// Until they are used up, then zeros.
    Bytes(&'a [u8]),
}

/// Addresses at which something begins or ends.
const PLACES: [u64; 30] = [
    0,
    REGISTERS,
    CONTROL,
    CONTROL + PAGE_BYTES,
    STACK_BOTTOM,
    STACK_TOP,
    TEXT,
    TEXT + PAGE_BYTES,
    HANDLER,
    DATA,
    DATA + PAGE_BYTES,
    TRANSMIT,
    RECEIVE,
    HEAP,
    HEAP + PAGE_BYTES,
    HEAP + 17 * PAGE_BYTES,
    MEMORY_BYTES - PAGE_BYTES,
    MEMORY_BYTES,
    SUPERVISOR_BASE,
    SUPERVISOR_BASE + 0x1000,
    SUPERVISOR_BASE + 0x5000,
    SUPERVISOR_BASE + 0x8000,
    SUPERVISOR_BASE + 0xb000,
    SUPERVISOR_BASE + 0xc000,
    WINDOW_START,
    WINDOW_START + (5 << 30),
    WINDOW_END - PAGE_BYTES,
    WINDOW_END,
    1 << 47,
    u64::MAX - (1 << 47) + 1,
];

impl Source<'_> {
    /// A source of one of a seed's programs.
    pub(super) fn of_seed(seed: u64, program: u64) -> Self {
        let mut source = Source::Seed(seed ^ program.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let state = source.word();
        Source::Seed(state)
    }

    /// Whether there is no choice left.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Source::Bytes([]))
    }

    /// Eight bytes. Of a seed by SplitMix64 (Steele, Lea and Flood, 2014).
    pub(super) fn word(&mut self) -> u64 {
        match self {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ z >> 31
            }
            Source::Bytes(bytes) => {
                let (taken, rest) = bytes.split_at(bytes.len().min(8));
                *bytes = rest;
                taken.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
            }
        }
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> u8 {
        match self {
            Source::Seed(_) => (self.word() >> 32) as u8,
            Source::Bytes([]) => 0,
            Source::Bytes([first, rest @ ..]) => {
                let first = *first;
                *self = Source::Bytes(rest);
                first
            }
        }
    }

    /// A number below `bound`, of at most 256.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Whether something is to be done that is done once in so many times. Not at the end of an external fuzzer's bytes.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of these.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// An address that is likely to be a hard one: near where something begins or ends.
    pub(super) fn address(&mut self) -> u64 {
        let place = self.one_of(&PLACES);
        match self.below(8) {
            0..=2 => place,
            3 => place.wrapping_add(8 * u64::from(self.byte())),
            4 => place.wrapping_sub(u64::from(self.byte() & 15)),
            5 => place.wrapping_add(PAGE_BYTES * u64::from(self.byte())),
            6 => place.wrapping_add(u64::from(self.byte())),
            _ => self.word() >> (self.below(64)),
        }
    }

    /// A start of a page.
    pub(super) fn page(&mut self) -> u64 {
        let address = self.address();
        if self.once_in(12) { address } else { address & !(PAGE_BYTES - 1) }
    }

    /// A page of the heap.
    pub(super) fn heap_page(&mut self) -> u64 {
        HEAP + PAGE_BYTES * (u64::from(self.byte()) % ((MEMORY_BYTES - HEAP) / PAGE_BYTES))
    }

    /// Any value, likely to be a hard one.
    pub(super) fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::from(self.byte()),
            2 => u64::MAX - u64::from(self.byte() & 7),
            3 => (1u64 << self.below(64)).wrapping_sub(u64::from(self.byte() & 1)),
            4 => 8 * u64::from(self.byte()),
            5 => self.word(),
            _ => self.address(),
        }
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

//! From features to code coverage, for fuzzers that know nothing else: each feature's function is a place in the program of
//! its own, which a coverage map sees. Features that are equal modulo [`PLACES`] share one.

use std::hint::black_box;

/// Functions that there are.
const PLACES: usize = 256;

/// A place of its own for each number. The compiler may not know that all do the same.
#[inline(never)]
fn place<const NUMBER: usize>() {
    black_box(NUMBER);
}

macro_rules! row {
    ($row:literal: $($column:literal)*) => { [$(place::<{ 16 * $row + $column }>),*] };
}

macro_rules! table {
    ($($row:literal)*) => { [$(row!($row: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)),*] };
}

static TABLE: [[fn(); 16]; PLACES / 16] = table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

/// Tells a coverage-guided fuzzer, in whose instrumented program this runs, of a feature.
pub fn mark(feature: u16) {
    let place = usize::from(feature) % PLACES;
    TABLE[place / 16][place % 16]();
}

//! The books of what is free, against a bit for each unit.

use super::{Extent, Holes};
use arbitrary::{Result, Unstructured};

const UNITS: usize = 64;
/// Most steps of one input.
const STEPS: usize = 100;

/// Takes and gives the pieces that `data` describe. What is free is what was not taken, and the best hole is chosen.
pub fn swap_holes(data: &[u8]) {
    // It ends where the bytes do.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let units = u.int_in_range(0..=UNITS)?;
    let mut holes = Holes::new(units as u64);
    // A bit for each unit that is taken; there are none behind the end.
    let mut used = if units == UNITS { 0 } else { u64::MAX << units };
    let mut taken: Vec<Extent> = Vec::new();
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let wanted = u.int_in_range(1..=16)?;
        let free = runs(used);
        let best = free.iter().copied().filter(|run| run.units >= wanted).min_by_key(|run| (run.units, run.start));
        let largest = free.iter().copied().max_by_key(|run| (run.units, run.start));
        assert_eq!((holes.best_fit(wanted), holes.largest()), (best, largest));
        let hole = match u.int_in_range(0..=3u8)? {
            0 => best,
            1 => largest.filter(|hole| hole.units >= wanted),
            _ if taken.is_empty() => None,
            _ => {
                let given = taken.swap_remove(u.choose_index(taken.len())?);
                used &= !mask(given);
                holes.give(given);
                None
            }
        };
        if let Some(hole) = hole {
            let extent = holes.take(hole, wanted);
            assert_eq!((extent, used & mask(extent)), (Extent { start: hole.start, units: wanted }, 0));
            used |= mask(extent);
            taken.push(extent);
        }
        assert_eq!(holes.free(), u64::from(used.count_zeros()));
        assert!(holes.by_start.len() == holes.by_size.len() && holes.by_start.len() <= taken.len() + 1);
    }
    taken.into_iter().for_each(|extent| holes.give(extent));
    assert_eq!(holes.largest().map_or(0, |hole| hole.units), units as u64);
    Ok(())
}

/// The bits of an extent of at most 16 units.
fn mask(extent: Extent) -> u64 {
    ((1 << extent.units) - 1) << extent.start
}

/// The runs of free units.
fn runs(used: u64) -> Vec<Extent> {
    let (mut runs, mut start) = (Vec::new(), 0);
    while start < UNITS as u64 {
        let units = u64::from((used >> start).trailing_zeros()).min(UNITS as u64 - start);
        if units > 0 {
            runs.push(Extent { start, units });
        }
        start += units;
        start += u64::from((!(used.checked_shr(start as u32).unwrap_or(0))).trailing_zeros());
    }
    runs
}

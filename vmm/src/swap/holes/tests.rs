use super::{Extent, Holes};
use proptest::{prelude::*, sample::Index};

const UNITS: usize = 64;

#[derive(Clone, Debug)]
enum Step {
    TakeBestFit(u64),
    TakeOfLargest(u64),
    Give(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..=12u64).prop_map(Step::TakeBestFit),
        1 => (1..=12u64).prop_map(Step::TakeOfLargest),
        3 => any::<Index>().prop_map(Step::Give),
    ];
    prop::collection::vec(step, 0..120)
}

/// The runs of free units: what holes have to be.
fn runs(used: &[bool]) -> Vec<Extent> {
    let mut runs: Vec<Extent> = Vec::new();
    for (n, _) in used.iter().enumerate().filter(|(_, used)| !**used) {
        match runs.last_mut() {
            Some(run) if run.start + run.units == n as u64 => run.units += 1,
            _ => runs.push(Extent { start: n as u64, units: 1 }),
        }
    }
    runs
}

fn all(holes: &Holes) -> Vec<Extent> {
    holes.by_start.iter().map(|(&start, &units)| Extent { start, units }).collect()
}

proptest! {
    /// Whatever is taken and given: nothing is taken twice, nothing is lost, neighbours are joined, the best hole is
    /// chosen, and in the end all comes back as one.
    #[test]
    fn holes_are_what_is_not_taken(steps in steps()) {
        let mut holes = Holes::new(UNITS as u64);
        let (mut used, mut taken) = ([false; UNITS], Vec::new());
        for step in steps {
            let (hole, units) = match step {
                Step::TakeBestFit(units) => {
                    let best = runs(&used).into_iter().filter(|run| run.units >= units).min_by_key(|run| run.units);
                    prop_assert_eq!(holes.best_fit(units), best);
                    (best, units)
                }
                Step::TakeOfLargest(units) => {
                    let largest = holes.largest();
                    prop_assert_eq!(largest.map(|hole| hole.units), runs(&used).iter().map(|run| run.units).max());
                    (largest.filter(|hole| hole.units >= units), units)
                }
                Step::Give(_) if taken.is_empty() => continue,
                Step::Give(index) => {
                    let extent: Extent = taken.swap_remove(index.index(taken.len()));
                    used[extent.start as usize..][..extent.units as usize].fill(false);
                    holes.give(extent);
                    (None, 0)
                }
            };
            if let Some(hole) = hole {
                let extent = holes.take(hole, units);
                prop_assert_eq!(extent, Extent { start: hole.start, units });
                let units = &mut used[extent.start as usize..][..extent.units as usize];
                prop_assert!(units.iter().all(|used| !used));
                units.fill(true);
                taken.push(extent);
            }
            prop_assert_eq!(all(&holes), runs(&used));
            prop_assert_eq!(holes.by_size.len(), holes.by_start.len());
            prop_assert_eq!(holes.free(), used.iter().filter(|used| !**used).count() as u64);
        }
        taken.into_iter().for_each(|extent| holes.give(extent));
        prop_assert_eq!(all(&holes), [Extent { start: 0, units: UNITS as u64 }]);
    }
}

#[test]
fn no_space_has_no_hole() {
    let holes = Holes::new(0);
    assert_eq!((holes.free(), holes.largest(), holes.best_fit(1)), (0, None, None));
}

use super::{Run, Runs};
use proptest::prelude::*;

proptest! {
    #[test]
    fn runs_are_an_array_of_values(
        changes in prop::collection::vec((0u64..40, 0u64..40, prop::option::of(0u8..3)), 0..30),
        (from, to) in (0u64..40, 0u64..40),
    ) {
        let (mut runs, mut array) = (Runs::new(), [None; 40]);
        for (start, end, value) in changes {
            match value {
                Some(value) => runs.set(&(start..end), value),
                None => runs.remove(&(start..end)),
            }
            if start < end {
                array[start as usize..end as usize].fill(value);
            }
        }
        for pair in runs.runs.windows(2) {
            let [a, b] = pair else { unreachable!() };
            prop_assert!(a.end < b.start || (a.end == b.start && a.value != b.value));
        }
        prop_assert!(runs.runs.iter().all(|run| run.start < run.end));
        prop_assert_eq!(runs.total(), array.iter().flatten().count() as u64);
        for at in 0..40 {
            let value = runs.from(at).first().filter(|run| run.start <= at).map(|run| run.value);
            prop_assert_eq!(value, array[at as usize]);
        }
        let mut part = [None; 40];
        for (range, &value) in runs.within(&(from..to)) {
            prop_assert!(!range.is_empty());
            part[range.start as usize..range.end as usize].fill(Some(value));
        }
        for gap in runs.gaps(&(from..to)) {
            part[gap.start as usize..gap.end as usize].fill(Some(9));
        }
        for at in 0..40 {
            let inside = (from..to).contains(&at);
            prop_assert_eq!(part[at as usize], inside.then_some(array[at as usize].unwrap_or(9)));
        }
    }
}

#[test]
fn equal_neighbours_on_both_sides_merge() {
    let mut runs = Runs::new();
    runs.set(&(0..2), 'a');
    runs.set(&(4..6), 'a');
    runs.set(&(2..4), 'a');
    assert_eq!(runs.from(0), [Run { start: 0, end: 6, value: 'a' }]);
}

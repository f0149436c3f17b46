//! Whatever comes in whatever order: the leases never exceed the CPUs, and a worker alone is left in peace.

use super::*;
use proptest::prelude::*;

const CPUS: u32 = 4;

/// What the workers were told last.
type Told = BTreeMap<u8, u32>;

/// Tells the workers one by one, and looks at the sum after each.
fn tell(told: &mut Told, changes: Vec<(u8, u32)>) {
    for (worker, cpus) in changes {
        told.insert(worker, cpus);
        let sum: u32 = told.values().sum();
        assert!(sum <= CPUS, "{told:?}");
    }
}

#[test]
fn a_worker_alone_is_told_once() {
    let mut division = Division::new(CPUS);
    assert_eq!(division.join(&1, &1), [(1, CPUS)]);
    for vms in [1, 0, 1, 2, 100, 0, 1] {
        assert_eq!(division.demand(&1, vms), []);
        assert!(!division.is_turning());
    }
    assert_eq!(division.turn(), []);
}

#[test]
fn small_jobs_one_after_another_keep_their_cpu() {
    let mut division = Division::new(2);
    division.join(&1, &1);
    division.demand(&1, 9);
    assert_eq!(division.join(&2, &2), [(1, 2)][..0]);
    assert_eq!(division.demand(&2, 1), [(1, 1), (2, 1)]);
    for _ in 0..10 {
        for vms in [0, 1, 0, 1] {
            assert_eq!(division.demand(&2, vms), []);
        }
        assert_eq!(division.turn(), []);
    }
    // And lose it once they are over.
    division.demand(&2, 0);
    assert_eq!(division.turn(), []);
    assert_eq!(division.turn(), [(2, 0), (1, 2)]);
    assert_eq!(division.leave(&2), []);
    division.demand(&1, 0);
    assert!(!division.is_turning());
}

#[test]
fn the_workers_of_a_crowd_share_what_its_tenant_has() {
    let (mut division, mut told) = (Division::new(2), Told::new());
    for worker in 1..=5 {
        tell(&mut told, division.join(&1, &worker));
        tell(&mut told, division.demand(&worker, 20));
    }
    tell(&mut told, division.join(&2, &9));
    tell(&mut told, division.demand(&9, 2));
    let mut had = Told::new();
    for _ in 0..50 {
        tell(&mut told, division.turn());
        told.iter().for_each(|(worker, cpus)| *had.entry(*worker).or_default() += cpus);
    }
    assert_eq!(had, [(1, 10), (2, 10), (3, 10), (4, 10), (5, 10), (9, 50)].into());
}

proptest! {
    #[test]
    fn the_leases_never_exceed_the_cpus(steps in proptest::collection::vec((0..4_u8, 0..6_u8, 0..9_u32), 1..200)) {
        let (mut division, mut told) = (Division::new(CPUS), Told::new());
        for (step, worker, vms) in steps {
            let changes = match step {
                0 if !division.members.contains_key(&worker) => division.join(&(worker / 2), &worker),
                0 | 1 => division.demand(&worker, vms),
                2 => {
                    told.remove(&worker);
                    division.leave(&worker)
                }
                _ => division.turn(),
            };
            tell(&mut told, changes);
            // Nobody waits while a CPU is free.
            let demand: u32 = division.members.values().map(|member| member.counted).sum();
            if !division.members.is_empty() {
                prop_assert!(told.values().sum::<u32>() >= demand.min(CPUS));
            }
        }
        // At rest, no more is said.
        for _ in 0..2 {
            tell(&mut told, division.turn());
        }
        if !division.is_turning() {
            prop_assert_eq!(division.turn(), []);
        }
    }
}

//! Fairness and bounds, whatever is told in whatever order.

use super::*;
use proptest::prelude::*;

type Pair = (u8, u8);

fn demand(leases: &mut Leases<u8, Pair>, worker: Pair, vms: u32) {
    leases.demand(&worker.0, &worker, vms);
}

/// Leases of these workers: tenant and number, and demand.
fn leases(cpus: u32, demands: &[(Pair, u32)]) -> Leases<u8, Pair> {
    let mut leases = Leases::new(cpus);
    demands.iter().for_each(|(worker, vms)| demand(&mut leases, *worker, *vms));
    leases
}

#[test]
fn tenants_share_first_and_their_workers_then() {
    let crowd = (0..100).map(|n| ((1, n), 1));
    let demands: Vec<_> = crowd.chain([((2, 0), 1)]).collect();
    let mut leases = leases(2, &demands);
    assert_eq!(leases.changes(), [((1, 0), 1), ((2, 0), 1)]);
    for n in 1..100 {
        leases.rotate();
        // The other tenant's one keeps its CPU.
        assert_eq!(leases.changes(), [((1, n - 1), 0), ((1, n), 1)]);
    }
}

#[test]
fn who_wants_little_gets_it_and_the_others_share_the_rest() {
    let mut leases = leases(10, &[((1, 0), 100), ((2, 0), 2), ((3, 0), 3), ((3, 1), 100)]);
    assert_eq!(leases.changes(), [((1, 0), 4), ((2, 0), 2), ((3, 0), 2), ((3, 1), 2)]);
}

#[test]
fn one_cpu_goes_around() {
    let mut leases = leases(1, &[((1, 0), 9), ((2, 0), 9), ((3, 0), 9)]);
    assert_eq!(leases.changes(), [((1, 0), 1)]);
    leases.rotate();
    assert_eq!(leases.changes(), [((1, 0), 0), ((2, 0), 1)]);
    assert_eq!(leases.changes(), []);
    // Whoever comes, or gives up its turn, goes to the end of the line.
    demand(&mut leases, (0, 0), 9);
    demand(&mut leases, (2, 0), 0);
    assert_eq!(leases.changes(), [((2, 0), 0), ((3, 0), 1)]);
    demand(&mut leases, (2, 0), 9);
    leases.rotate();
    assert_eq!(leases.changes(), [((3, 0), 0), ((1, 0), 1)]);
    leases.rotate();
    assert_eq!(leases.changes(), [((1, 0), 0), ((0, 0), 1)]);
}

#[test]
fn who_wants_nothing_gets_what_no_one_wants() {
    let mut leases = leases(4, &[((1, 0), 0), ((1, 1), 1), ((2, 0), 0), ((2, 1), 0)]);
    assert_eq!(leases.changes(), [((1, 0), 1), ((1, 1), 1), ((2, 0), 1), ((2, 1), 1)]);
    assert!(!leases.is_short());
    demand(&mut leases, (1, 1), 3);
    // Of the two tenants, each has one that waits for its first job; the first in line keeps the CPU.
    assert_eq!(leases.changes(), [((2, 0), 0), ((2, 1), 0), ((1, 1), 3)]);
    demand(&mut leases, (2, 1), 1);
    assert_eq!(leases.changes(), [((1, 0), 0), ((2, 1), 1)]);
    assert!(!leases.is_short());
    demand(&mut leases, (2, 1), u32::MAX);
    demand(&mut leases, (2, 0), u32::MAX);
    assert!(leases.is_short());
    assert_eq!(leases.changes(), [((1, 1), 2), ((2, 0), 1)]);
}

/// Steps as a node takes them: a demand of a worker, its end, a rotation.
#[derive(Clone, Debug)]
enum Step {
    Demand(Pair, u32),
    Remove(Pair),
    Rotate,
}

fn worker() -> impl Strategy<Value = Pair> {
    (0..5_u8, 0..4_u8)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let vms = prop_oneof![0..3_u32, 0..20_u32, Just(u32::MAX)];
    let step = prop_oneof![
        6 => (worker(), vms).prop_map(|(worker, vms)| Step::Demand(worker, vms)),
        1 => worker().prop_map(Step::Remove),
        2 => Just(Step::Rotate),
    ];
    prop::collection::vec(step, 0..60)
}

/// What each in a line gets, by the definition: CPU by CPU to one that has least of those that want more.
fn max_min(cpus: u64, wanted: &[u64]) -> Vec<u64> {
    let mut got = vec![0; wanted.len()];
    for _ in 0..cpus {
        let hungry = (0..wanted.len()).filter(|n| got[*n] < wanted[*n]);
        let Some(least) = hungry.min_by_key(|n| got[*n]) else { break };
        got[least] += 1;
    }
    got
}

proptest! {
    /// The leases never exceed the CPUs, at no point of a list of changes either; no CPU is left while someone wants one,
    /// or has nothing to do and none; the changes tell all; the same steps give the same leases.
    #[test]
    fn leases_keep_the_rules(steps in steps(), cpus in 0..12_u32) {
        let (mut leases, mut twin) = (Leases::new(cpus), Leases::new(cpus));
        let mut demands: BTreeMap<Pair, u32> = BTreeMap::new();
        let mut told: BTreeMap<Pair, u32> = BTreeMap::new();
        for step in steps {
            for leases in [&mut leases, &mut twin] {
                match &step {
                    Step::Demand(worker, vms) => demand(leases, *worker, *vms),
                    Step::Remove(worker) => leases.remove(&worker.0, worker),
                    Step::Rotate => leases.rotate(),
                }
            }
            match step {
                Step::Demand(worker, vms) => {
                    demands.insert(worker, vms);
                    told.entry(worker).or_default();
                }
                Step::Remove(worker) => {
                    demands.remove(&worker);
                    told.remove(&worker);
                }
                Step::Rotate => {}
            }
            let changes = leases.changes();
            prop_assert_eq!(&changes, &twin.changes());
            for (worker, lease) in changes {
                prop_assert_ne!(told.insert(worker, lease), Some(lease), "no change");
                prop_assert!(told.values().sum::<u32>() <= cpus);
            }
            let entries = leases.tenants.values().flat_map(|workers| &workers.entries);
            prop_assert_eq!(&entries.map(|(worker, entry)| (*worker, entry.lease)).collect::<BTreeMap<_, _>>(), &told);
            prop_assert!(leases.tenants.values().all(|workers| !workers.entries.is_empty()));

            let left = cpus - told.values().sum::<u32>();
            for (worker, vms) in &demands {
                prop_assert!(told[worker] <= (*vms).max(1));
                prop_assert!(left == 0 || told[worker] >= (*vms).max(1), "{worker:?}: {vms}, {left} left");
            }
            let wanted = demands.values().fold(0, |sum: u32, vms| sum.saturating_add(*vms));
            prop_assert_eq!(leases.is_short(), wanted > cpus);
            // Who wants nothing gets nothing that someone wants.
            prop_assert!(wanted < cpus || demands.iter().all(|(worker, vms)| *vms > 0 || told[worker] == 0));

            let sums = |of: &BTreeMap<Pair, u32>| {
                let mut sums = BTreeMap::<u8, u64>::new();
                of.iter().for_each(|(worker, n)| *sums.entry(worker.0).or_default() += u64::from(*n));
                sums
            };
            if wanted >= cpus {
                let (wanted, got) = (sums(&demands), sums(&told));
                check(&wanted.into_values().collect::<Vec<_>>(), &got.into_values().collect::<Vec<_>>())?;
            }
            for tenant in 0..5 {
                let of = |of: &BTreeMap<Pair, u32>| -> Vec<u64> {
                    of.range((tenant, 0)..=(tenant, u8::MAX)).map(|(_, n)| u64::from(*n)).collect()
                };
                if of(&demands).iter().sum::<u64>() >= of(&told).iter().sum() {
                    check(&of(&demands), &of(&told))?;
                }
            }
        }
    }

    /// Over time those that want as much get as much, whatever went on before and however the line above them moves.
    #[test]
    fn rotation_evens_out(
        steps in steps(),
        demands in prop::collection::btree_map(worker(), 1..9_u32, 1..20),
        cpus in 1..12_u32,
        rotations in 1..200_u32,
    ) {
        let mut leases = Leases::new(cpus);
        for step in steps {
            match step {
                Step::Demand(worker, vms) => demand(&mut leases, worker, vms),
                Step::Remove(worker) => leases.remove(&worker.0, &worker),
                Step::Rotate => leases.rotate(),
            }
            leases.changes();
        }
        for (tenant, n) in (0..5).flat_map(|tenant| (0..4).map(move |n| (tenant, n))) {
            match demands.get(&(tenant, n)) {
                Some(vms) => demand(&mut leases, (tenant, n), *vms),
                None => leases.remove(&tenant, &(tenant, n)),
            }
        }
        leases.rotate();
        let mut current: BTreeMap<Pair, u32> =
            leases.tenants.values().flat_map(|workers| &workers.entries).map(|(w, entry)| (*w, entry.told)).collect();
        let mut totals: BTreeMap<Pair, u32> = BTreeMap::new();
        for _ in 0..rotations {
            current.extend(leases.changes());
            for (worker, lease) in &current {
                *totals.entry(*worker).or_default() += lease;
            }
            leases.rotate();
        }
        let sum = |tenant: u8, of: &BTreeMap<Pair, u32>| of.range((tenant, 0)..=(tenant, 9)).map(|(_, n)| n).sum::<u32>();
        let tenants: Vec<(u32, u32)> = (0..5).map(|tenant| (sum(tenant, &demands), sum(tenant, &totals))).collect();
        for (wanted, got) in &tenants {
            prop_assert!(*got <= wanted * rotations);
            // Who got less than it wanted got as much as anyone, but for one turn.
            if *got < wanted * rotations {
                prop_assert!(tenants.iter().all(|(_, other)| *other <= got + 1), "{tenants:?}");
            }
        }
        for ((a, wanted), (b, also)) in demands.iter().flat_map(|a| demands.iter().map(move |b| (a, b))) {
            if a.0 == b.0 && wanted == also {
                prop_assert!(totals[a].abs_diff(totals[b]) <= 1, "{a:?} {b:?} {totals:?}");
            }
        }
    }
}

/// These shares are max-min fair; which of those that could have one more have it is open.
fn check(wanted: &[u64], got: &[u64]) -> Result<(), TestCaseError> {
    prop_assert!(wanted.iter().zip(got).all(|(wanted, got)| got <= wanted));
    let (mut fair, mut got) = (max_min(got.iter().sum(), wanted), got.to_vec());
    fair.sort_unstable();
    got.sort_unstable();
    prop_assert_eq!(got, fair);
    Ok(())
}

//! Promises, whatever happens in whatever order; and what they come to in the long run (`simulation`).

mod simulation;

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

fn at(ms: u64) -> Instant {
    *ZERO + Duration::from_millis(ms)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn key(n: u64) -> VmKey {
    VmKey(n)
}

impl Scheduler {
    fn pick(&mut self, now: Instant) -> Option<VmKey> {
        self.pick_of(now, |_| true)
    }
}

fn with(cpus: u32, vms: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(cpus);
    (0..vms).for_each(|n| scheduler.add(key(n), at(0)));
    scheduler
}

/// Picks one VM after the other, each for a slice, and names them.
fn turns(scheduler: &mut Scheduler, count: usize) -> Vec<u64> {
    let turn = |_| {
        let vm = scheduler.pick(at(0)).unwrap();
        scheduler.yielded(vm, SLICE, at(0));
        vm.0
    };
    (0..count).map(turn).collect()
}

#[test]
fn equal_vms_take_turns() {
    assert_eq!(turns(&mut with(1, 3), 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn who_idled_is_preferred_by_one_slice() {
    let mut scheduler = with(1, 3);
    assert_eq!(turns(&mut scheduler, 2), [0, 1]);
    let sleeper = scheduler.pick(at(0)).unwrap();
    scheduler.idle(sleeper, None, ms(1), at(1));
    turns(&mut scheduler, 20);
    assert!(scheduler.wake(sleeper, at(0)));
    // It gets a slice for the one that it is behind the clock, and then its turn.
    assert_eq!(turns(&mut scheduler, 6), [2, 2, 0, 1, 2, 0]);
}

#[test]
fn new_vms_start_at_the_clock() {
    let mut scheduler = with(1, 2);
    turns(&mut scheduler, 100);
    scheduler.add(key(2), at(0));
    assert_eq!(turns(&mut scheduler, 6), [2, 0, 1, 2, 0, 1]);
}

/// Who ran alone for long owes nothing to who comes then, and has nothing ahead of it.
#[test]
fn the_clock_goes_on_while_one_runs_alone() {
    let mut scheduler = with(1, 1);
    assert_eq!(scheduler.pick(at(0)), Some(key(0)));
    scheduler.add(key(1), at(10_000));
    scheduler.yielded(key(0), ms(10_000), at(10_000));
    assert_eq!(turns(&mut scheduler, 4), [0, 1, 0, 1]);
}

/// Job after job, each a new VM with the lowest key: the hog still gets as much as they do together.
#[test]
fn a_stream_of_short_jobs_shares_with_a_hog() {
    let mut scheduler = Scheduler::new(1);
    let hog = key(u64::MAX);
    scheduler.add(hog, at(0));
    let mut used = [ms(0); 2];
    for job in 0..2000 {
        scheduler.add(key(job), at(0));
        while let Some(vm) = scheduler.pick(at(0)) {
            if vm == hog {
                scheduler.yielded(hog, SLICE, at(0));
                used[0] += SLICE;
            } else {
                scheduler.remove(vm, ms(1), at(0));
                used[1] += ms(1);
                break;
            }
        }
    }
    assert!(used[0].abs_diff(used[1]) <= 2 * SLICE, "{used:?}");
}

/// What a VM used while nobody waited is not held against it later.
#[test]
fn time_that_no_one_wanted_is_not_paid_for() {
    // One runs in slices; the other one goes on and on, or the host takes its CPU from it.
    for slow_used in [ms(0), ms(300), ms(20_000), ms(100_000)] {
        for end in [0, 20_000] {
            let mut scheduler = with(2, 2);
            let (fast, slow) = (scheduler.pick(at(0)).unwrap(), scheduler.pick(at(0)).unwrap());
            for n in 1..=1000 {
                let now = at(n * end / 1000);
                scheduler.yielded(fast, SLICE, now);
                assert_eq!(scheduler.pick(now), Some(fast));
            }
            // Then three want the one CPU that is left.
            scheduler.set_cpus(1);
            scheduler.add(key(2), at(end));
            scheduler.yielded(slow, slow_used, at(end));
            scheduler.yielded(fast, SLICE, at(end));
            let next = turns(&mut scheduler, 60);
            for vm in 0..3 {
                let count = next.iter().filter(|n| **n == vm).count();
                assert!((18..=22).contains(&count), "{slow_used:?} by {end} ms: {next:?}");
            }
        }
    }
}

const NONE: [u64; 0] = [];

#[test]
fn a_smaller_lease_names_those_that_ran_longest() {
    let mut scheduler = with(2, 3);
    assert_eq!((scheduler.pick(at(0)), scheduler.pick(at(5))), (Some(key(0)), Some(key(1))));
    let excess = |scheduler: &Scheduler| scheduler.excess().map(|vm| vm.0).collect::<Vec<_>>();
    // Whoever waits does so for the end of a slice.
    assert_eq!(excess(&scheduler), NONE);
    scheduler.set_cpus(1);
    assert_eq!(excess(&scheduler), [0]);
    scheduler.set_cpus(0);
    assert_eq!(excess(&scheduler), [0, 1]);
    assert_eq!(scheduler.pick(at(6)), None);
}

#[test]
fn the_longest_idle_is_named_first_until_it_is_swapped_out() {
    let mut scheduler = with(5, 5);
    for (n, until) in [(3, None), (0, Some(at(100))), (4, Some(at(900))), (1, None)] {
        while scheduler.pick(at(0)).is_some() {}
        scheduler.idle(key(n), until, ms(1), at(10 - n));
    }
    let named =
        |scheduler: &Scheduler, looks| scheduler.longest_idle(at(500), looks).map(|vm| vm.0).collect::<Vec<_>>();
    // 0, idle since the last, is to wake too soon.
    assert_eq!(named(&scheduler, 9), [4, 3, 1]);
    assert_eq!(named(&scheduler, 2), [4, 3]);
    assert_eq!(scheduler.longest_idle(at(0), 9).count(), 4);
    scheduler.swapped(key(4));
    assert_eq!(named(&scheduler, 2), [3, 1]);
    // The time of one that is swapped out still comes; idle anew, it is named again.
    assert_eq!(scheduler.due(at(900)), [key(0), key(4)]);
    assert!(named(&scheduler, 9) == [3, 1] && std::iter::from_fn(|| scheduler.pick(at(900))).count() == 2);
    scheduler.idle(key(4), None, ms(1), at(901));
    assert_eq!(named(&scheduler, 9), [3, 1, 4]);
}

#[derive(Clone, Debug)]
enum Step {
    Cpus(u32),
    Add,
    Pick,
    Yield(usize, u64),
    Idle(usize, u64, Option<u64>),
    Wake(usize),
    Pass(u64),
    Swap(usize),
    Remove(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let used = || 0..30_000_u64;
    let step = prop_oneof![
        1 => (0..6_u32).prop_map(Step::Cpus),
        3 => Just(Step::Add),
        8 => Just(Step::Pick),
        4 => (any::<usize>(), used()).prop_map(|(vm, us)| Step::Yield(vm, us)),
        4 => (any::<usize>(), used(), prop::option::of(0..100_u64)).prop_map(|(vm, us, ms)| Step::Idle(vm, us, ms)),
        3 => any::<usize>().prop_map(Step::Wake),
        3 => (0..40_u64).prop_map(Step::Pass),
        1 => any::<usize>().prop_map(Step::Swap),
        1 => (any::<usize>(), used()).prop_map(|(vm, us)| Step::Remove(vm, us)),
    ];
    prop::collection::vec(step, 0..300)
}

/// All that a scheduler holds agrees with what its VMs do, and holds no more.
fn check(scheduler: &Scheduler, states: &BTreeMap<VmKey, State>) -> Result<(), TestCaseError> {
    let seen: BTreeMap<VmKey, State> = scheduler.vms.iter().map(|(key, vm)| (*key, vm.state)).collect();
    prop_assert_eq!(&seen, states);
    let keys = |filter: &dyn Fn(&State) -> bool| -> BTreeSet<VmKey> {
        states.iter().filter(|(_, state)| filter(state)).map(|(key, _)| *key).collect()
    };
    let of = |set: &BTreeSet<(Instant, VmKey)>| -> Vec<VmKey> { set.iter().map(|(_, key)| *key).collect() };
    let runnable = keys(&|state| *state == State::Runnable);
    prop_assert_eq!(scheduler.runnable.iter().map(|(_, key)| *key).collect::<BTreeSet<_>>(), runnable.clone());
    prop_assert_eq!(scheduler.runnable(), runnable.len());
    let running = keys(&|state| matches!(state, State::Running(_)));
    prop_assert!(
        scheduler.running() == running.len() && of(&scheduler.running).into_iter().collect::<BTreeSet<_>>() == running
    );
    let timed = keys(&|state| matches!(state, State::Idle { until: Some(_), .. }));
    prop_assert!(
        scheduler.timers.len() == timed.len() && of(&scheduler.timers).into_iter().collect::<BTreeSet<_>>() == timed
    );
    let idle = keys(&|state| matches!(state, State::Idle { .. }));
    prop_assert!(scheduler.resident.len() <= idle.len() && of(&scheduler.resident).iter().all(|vm| idle.contains(vm)));
    prop_assert_eq!(scheduler.idling(), idle.len());
    Ok(())
}

proptest! {
    /// Never too many run; a VM is in one state, the one that it was brought to; no wake is lost and no timer early or
    /// late; what is removed leaves nothing; events that come too late or twice do nothing.
    #[test]
    fn every_vm_is_where_it_should_be(steps in steps(), mut cpus in 0..6_u32) {
        let mut scheduler = Scheduler::new(cpus);
        let mut states = BTreeMap::new();
        let (mut now, mut next) = (at(0), 0);
        for step in steps {
            // Any VM, in any state; sometimes one that is not here any more.
            let nth = |n: usize| key(n as u64 % (next + 1));
            match step {
                Step::Cpus(n) => {
                    cpus = n;
                    scheduler.set_cpus(n);
                }
                Step::Add => {
                    scheduler.add(key(next), now);
                    states.insert(key(next), State::Runnable);
                    next += 1;
                }
                Step::Pick => {
                    let runs = states.values().filter(|state| matches!(state, State::Running(_))).count();
                    let waits = states.values().any(|state| *state == State::Runnable);
                    let picked = scheduler.pick(now);
                    prop_assert_eq!(picked.is_some(), waits && runs < cpus as usize);
                    if let Some(vm) = picked {
                        prop_assert_eq!(states.insert(vm, State::Running(now)), Some(State::Runnable));
                    }
                }
                Step::Yield(n, us) => {
                    scheduler.yielded(nth(n), Duration::from_micros(us), now);
                    states.entry(nth(n)).and_modify(|state| {
                        if matches!(state, State::Running(_)) {
                            *state = State::Runnable;
                        }
                    });
                }
                Step::Idle(n, us, until) => {
                    let until = until.map(|until| now + ms(until));
                    scheduler.idle(nth(n), until, Duration::from_micros(us), now);
                    states.entry(nth(n)).and_modify(|state| {
                        if matches!(state, State::Running(_)) {
                            *state = State::Idle { since: now, until };
                        }
                    });
                }
                Step::Wake(n) => {
                    let idles = matches!(states.get(&nth(n)), Some(State::Idle { .. }));
                    prop_assert_eq!(scheduler.wake(nth(n), now), idles);
                    if idles {
                        states.insert(nth(n), State::Runnable);
                    }
                }
                Step::Pass(passed) => {
                    let times = states.values().filter_map(|state| match state {
                        State::Idle { until, .. } => *until,
                        _ => None,
                    });
                    prop_assert_eq!(scheduler.next_timer(), times.min());
                    now += ms(passed);
                    let due: Vec<VmKey> = scheduler.due(now);
                    for (key, state) in &mut states {
                        let is_due = matches!(state, State::Idle { until: Some(until), .. } if *until <= now);
                        prop_assert_eq!(due.contains(key), is_due);
                        if is_due {
                            *state = State::Runnable;
                        }
                    }
                }
                Step::Swap(n) => scheduler.swapped(nth(n)),
                Step::Remove(n, us) => {
                    scheduler.remove(nth(n), Duration::from_micros(us), now);
                    states.remove(&nth(n));
                }
            }
            check(&scheduler, &states)?;
        }
    }

    /// While a VM waits, each other one, and whoever takes its place, gets little more than two slices before it, and so
    /// it is passed by a bounded number of times.
    #[test]
    fn no_vm_starves(steps in steps(), cpus in 1..4_u32) {
        let mut scheduler = Scheduler::new(cpus);
        let mut running: Vec<VmKey> = Vec::new();
        // For each that waits: the picks since, and the most VMs at once meanwhile.
        let mut waits: BTreeMap<VmKey, (usize, usize)> = BTreeMap::new();
        let mut next = 0;
        // Runs of 5 to 20 ms, so that the bound on picks is a tight one.
        let used = |us: u64| Duration::from_micros(5_000 + us / 2);
        for step in steps.iter().cycle().take(steps.len() * 4) {
            match *step {
                Step::Add if scheduler.vms.len() < 20 => {
                    scheduler.add(key(next), at(0));
                    waits.insert(key(next), (0, 0));
                    next += 1;
                }
                Step::Pick => if let Some(vm) = scheduler.pick(at(0)) {
                    running.push(vm);
                    let passed = waits.remove(&vm);
                    prop_assert!(passed.is_some());
                    waits.values_mut().for_each(|(picks, _)| *picks += 1);
                },
                Step::Yield(n, us) if !running.is_empty() => {
                    let vm = running.swap_remove(n % running.len());
                    scheduler.yielded(vm, used(us), at(0));
                    waits.insert(vm, (0, 0));
                }
                Step::Idle(n, us, _) if !running.is_empty() => {
                    let vm = running.swap_remove(n % running.len());
                    scheduler.idle(vm, None, used(us), at(0));
                    // At once, or later.
                    if us % 2 == 0 && scheduler.wake(vm, at(0)) {
                        waits.insert(vm, (0, 0));
                    }
                }
                Step::Wake(n) if next > 0 => {
                    let vm = key(n as u64 % next);
                    if scheduler.wake(vm, at(0)) {
                        waits.insert(vm, (0, 0));
                    }
                }
                // A running one ends, and another takes its place.
                Step::Remove(n, us) if !running.is_empty() => {
                    scheduler.remove(running.swap_remove(n % running.len()), used(us), at(0));
                    scheduler.add(key(next), at(0));
                    waits.insert(key(next), (0, 0));
                    next += 1;
                }
                _ => {}
            }
            for (picks, most) in waits.values_mut() {
                *most = scheduler.vms.len().max(*most);
                // From a slice behind the clock to one ahead of it, by 5 ms at the least; and the one that runs already.
                prop_assert!(*picks <= *most * 9, "{picks} picks, {most} VMs");
            }
        }
    }
}

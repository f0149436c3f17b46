//! What guests make of the scheduler's life, in any order and at any time: against what each VM should be doing.

use super::{CHARGE_LEAST, CREDIT, LEAD, Scheduler, State, VmKey};
use arbitrary::{Result, Unstructured};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Most VMs ever, and most steps, of one input.
const VMS: u64 = 48;
const STEPS: usize = 256;

/// Runs the events that `data` describe. Never too many run, none is in two states, no wake is lost, virtual time never goes back, and
/// nothing is kept of a VM that is gone.
pub fn schedule(data: &[u8]) {
    thread_local! {
        static ZERO: Instant = Instant::now();
    }
    // It ends where the bytes do.
    let _ = ZERO.with(|zero| run(&mut Unstructured::new(data), *zero));
}

fn run(u: &mut Unstructured<'_>, zero: Instant) -> Result<()> {
    let mut cpus = u.int_in_range(0..=4)?;
    let mut scheduler = Scheduler::new(cpus);
    let (mut states, mut now, mut next) = (BTreeMap::<VmKey, State>::new(), zero, 0);
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let step = u.int_in_range(0..=9u8)?;
        let key = VmKey(u.int_in_range(0..=next)?);
        let state = states.get(&key).copied();
        let runs = matches!(state, Some(State::Running(_)));
        let clock = scheduler.clock;
        match step {
            0 => {
                cpus = u.int_in_range(0..=4)?;
                scheduler.set_cpus(cpus);
            }
            1 | 2 if next < VMS => {
                scheduler.add(VmKey(next), now);
                states.insert(VmKey(next), State::Runnable);
                next += 1;
            }
            3 | 4 => {
                let refused = if u.arbitrary()? { Some(key) } else { None };
                let picked = scheduler.pick_of(now, |key| Some(key) != refused);
                let running = states.values().filter(|state| matches!(state, State::Running(_))).count();
                let waits = states.iter().any(|(key, state)| *state == State::Runnable && Some(*key) != refused);
                assert_eq!(picked.is_some(), waits && running < cpus as usize);
                if let Some(vm) = picked {
                    assert_eq!(states.insert(vm, State::Running(now)), Some(State::Runnable));
                }
            }
            5 => {
                scheduler.yielded(key, used(u)?, now);
                states.entry(key).and_modify(|state| *state = if runs { State::Runnable } else { *state });
            }
            6 => {
                let until = if u.arbitrary()? { Some(now + time(u)?) } else { None };
                scheduler.idle(key, until, used(u)?, now);
                let idle = State::Idle { since: now, until };
                states.entry(key).and_modify(|state| *state = if runs { idle } else { *state });
            }
            7 => {
                let idles = matches!(state, Some(State::Idle { .. }));
                assert_eq!(scheduler.wake(key, now), idles);
                states.entry(key).and_modify(|state| *state = if idles { State::Runnable } else { *state });
            }
            8 => {
                now += time(u)?;
                wake_due(&mut scheduler, &mut states, now);
            }
            _ if u.arbitrary()? => {
                scheduler.swapped(key);
                if u.arbitrary()? {
                    scheduler.stays(key);
                }
            }
            _ => {
                scheduler.remove(key, used(u)?, now);
                states.remove(&key);
            }
        }
        assert!(scheduler.clock >= clock, "the clock goes back");
        check(&scheduler, &states, cpus as usize);
    }
    Ok(())
}

fn wake_due(scheduler: &mut Scheduler, states: &mut BTreeMap<VmKey, State>, now: Instant) {
    let is_due = |state: &State| matches!(state, State::Idle { until: Some(until), .. } if *until <= now);
    let mut due = scheduler.due(now);
    due.sort_unstable();
    assert!(states.iter().filter(|(_, state)| is_due(state)).map(|(key, _)| *key).eq(due.iter().copied()));
    for key in due {
        states.insert(key, State::Runnable);
    }
}

fn check(scheduler: &Scheduler, states: &BTreeMap<VmKey, State>, cpus: usize) {
    assert!(
        scheduler.vms.iter().map(|(key, vm)| (*key, vm.state)).eq(states.iter().map(|(key, state)| (*key, *state)))
    );
    let count = |is: fn(&State) -> bool| states.values().filter(|state| is(state)).count();
    let running = count(|state| matches!(state, State::Running(_)));
    let timed = count(|state| matches!(state, State::Idle { until: Some(_), .. }));
    let idle = count(|state| matches!(state, State::Idle { .. }));
    assert_eq!((scheduler.running(), scheduler.runnable()), (running, count(|state| *state == State::Runnable)));
    assert_eq!((scheduler.timers.len(), scheduler.idling()), (timed, idle));
    assert!(scheduler.resident.len() <= idle && scheduler.longest_idle(Instant::now(), usize::MAX).count() <= idle);
    assert_eq!(scheduler.excess().count(), running.saturating_sub(cpus));
    assert_eq!(scheduler.has_waiting(), scheduler.runnable() > 0);
    assert_eq!(scheduler.on_cpus().count(), running);
    let times = states.values().filter_map(|state| match state {
        State::Idle { until, .. } => *until,
        _ => None,
    });
    assert_eq!(scheduler.next_timer(), times.min());
    for (virtual_time, key) in &scheduler.runnable {
        assert_eq!(scheduler.vms[key].virtual_time, *virtual_time);
        // Who waits is not far ahead of those whose turn it is: none waits for long.
        let ahead = virtual_time.saturating_sub(scheduler.clock);
        assert!(ahead <= LEAD + CREDIT + CHARGE_LEAST, "{key:?} is {ahead:?} ahead of the clock");
    }
}

/// CPU time that a VM used, also far more than it was given.
fn used(u: &mut Unstructured<'_>) -> Result<Duration> {
    let most = if u.ratio(1, 8)? { 3_600_000_000 } else { 40_000 };
    Ok(Duration::from_micros(u.int_in_range(0..=most)?))
}

fn time(u: &mut Unstructured<'_>) -> Result<Duration> {
    let most = if u.ratio(1, 8)? { 3_600_000 } else { 100 };
    Ok(Duration::from_millis(u.int_in_range(0..=most)?))
}

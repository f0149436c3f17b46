use super::*;
use crate::kvm::Thread;
use crate::worker::{
    kernel::{Pending, room::Wish},
    message::{Input, RunId, Start},
    shelf::Kept,
};
use denali_protocol::{digest::Digest, job::Limits};

const BUDGET_KIB: u64 = 10_000;

fn pending(run: u64) -> Pending {
    let start = Start {
        run: RunId(run),
        bundle: Digest::of(b""),
        arguments: Vec::new(),
        limits: Limits { memory_bytes: 8 << 20, cpu_time_us: 1, wall_time_us: 1, output_bytes: 1 },
        input: Input::Messages,
        reimage: true,
    };
    let bundle = File::open("/dev/null").expect("it is there");
    Pending { start, bundle, input: None, came: Instant::now() }
}

/// A disk, two CPUs, and as many runs that have one, each with so much memory for longer than it has to stay.
fn computing(kib: [u64; 2]) -> State {
    let mut state = State::new(2, Kept::default(), Instant::now());
    state.room.budget_kib = BUDGET_KIB;
    state.room.has_exit = true;
    for (run, kib) in (1..).zip(kib) {
        state.admit(VmKey(run), pending(run));
        state.next_turn(Thread::current()).expect("there is a CPU");
        state.set_memory(VmKey(run), kib);
        let slot = state.slots.get_mut(&VmKey(run)).expect("it is there");
        slot.came = Instant::now().checked_sub(Duration::from_secs(100 - run));
    }
    state
}

fn yielded(state: &mut State, run: u64) {
    state.scheduler.yielded(VmKey(run), Duration::ZERO, Instant::now());
}

/// All that are in memory compute, each on a CPU for itself, and someone waits.
#[test]
fn who_came_first_stops_for_those_that_wait() {
    let mut state = computing([5000, 5000]);
    assert_eq!(state.next_to_stop(), None, "no one waits");
    state.admit(VmKey(3), pending(3));
    let ticket = state.room.queue(VmKey(3), Wish::Start(540));
    assert_eq!(state.next_to_leave(), None);
    assert_eq!(state.next_to_stop(), Some(VmKey(1)));
    state.slots.get_mut(&VmKey(1)).expect("it is there").came = Some(Instant::now());
    assert_eq!(state.next_to_stop(), Some(VmKey(2)), "the other has just come");
    // It gets no turn before the keeper came for it; or no one waits any more.
    state.scheduler.set_cpus(1);
    state.scheduler.remove(VmKey(3), Duration::ZERO, Instant::now());
    state.leaver = Some(VmKey(2));
    yielded(&mut state, 2);
    yielded(&mut state, 1);
    assert_eq!(state.next_turn(Thread::current()).map(|turn| turn.key), Some(VmKey(1)));
    yielded(&mut state, 1);
    state.scheduler.remove(VmKey(1), Duration::ZERO, Instant::now());
    assert!(state.next_turn(Thread::current()).is_none());
    state.room.leave_queue(ticket);
    assert_eq!(state.next_turn(Thread::current()).map(|turn| turn.key), Some(VmKey(2)));
}

/// Too much is taken: no one gets a turn but to end.
#[test]
fn who_ends_gets_a_turn_though_too_much_is_taken() {
    let mut state = computing([6000, 6000]);
    yielded(&mut state, 1);
    yielded(&mut state, 2);
    assert!(state.next_turn(Thread::current()).is_none());
    state.slots.get_mut(&VmKey(2)).expect("it is there").cancelled = true;
    assert!(state.next_turn(Thread::current()).is_some_and(|turn| turn.key == VmKey(2) && turn.cancelled));
    assert!(state.next_turn(Thread::current()).is_none());
}

/// One that found no place on disk is not tried again, whatever it does, before there is one; and does not hide others.
#[test]
fn who_finds_no_place_is_tried_again_once_there_is_one() {
    let mut state = computing([4000, 6000]);
    let idle = |state: &mut State, run| state.idle(VmKey(run), None, Duration::ZERO);
    state.stick(VmKey(1), 8192);
    state.stick(VmKey(2), 0);
    idle(&mut state, 1);
    idle(&mut state, 2);
    assert_eq!(state.next_to_leave(), None);
    state.space_came(4096);
    assert_eq!(state.next_to_leave(), Some(VmKey(2)), "it was not for want of space");
    assert!(state.forget(VmKey(2), Duration::ZERO).is_none());
    state.wake(VmKey(1));
    assert!(state.next_turn(Thread::current()).is_some_and(|turn| turn.key == VmKey(1)));
    state.slots.get_mut(&VmKey(1)).expect("it is there").stage = Stage::Running(crate::kvm::Thread::current());
    idle(&mut state, 1);
    assert!(state.scheduler.longest_idle(Instant::now(), LOOKS).next().is_none() && state.next_to_leave().is_none());
    state.space_came(8192);
    assert_eq!(state.next_to_leave(), Some(VmKey(1)));
}

/// The disk takes VMs, but none that is in memory. One that wants back from it does not wait for them.
#[test]
fn where_no_one_may_leave_there_is_no_exit() {
    let mut state = computing([4000, 6000]);
    assert!(state.forget(VmKey(1), Duration::ZERO).is_none());
    state.idle(VmKey(2), None, Duration::ZERO);
    state.room.queue(VmKey(3), Wish::Return(5000));
    assert!(matches!(state.next_to_leave(), Some(VmKey(2))));
    state.stick(VmKey(2), 0);
    assert!(matches!(state.choose(), Choice::Never));
    assert!(!state.room.has_exit && state.room.ask(Wish::Return(4000)), "it was let in");
}

/// One that wants back from disk waits behind one that is to start, for which the disk is to take another. It would make room there.
#[test]
fn one_on_disk_does_not_wait_for_its_own_place() {
    let mut state = computing([4000, 6000]);
    state.room.queue(VmKey(3), Wish::Start(540));
    state.room.queue(VmKey(4), Wish::Return(600));
    state.room.has_exit = false;
    assert_eq!(state.room.let_in(), Some((VmKey(4), Wish::Return(600))));
}

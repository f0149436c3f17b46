mod exploration;

use super::*;
use proptest::prelude::*;

const BUDGET: u64 = 10_000;

fn key(n: u64) -> VmKey {
    VmKey(n)
}

fn room() -> Room {
    Room { budget_kib: BUDGET, ..Room::new(Kept::default()) }
}

#[test]
fn those_who_wait_come_in_order_and_no_one_passes_them() {
    let mut room = room();
    room.has_exit = true;
    room.charge(key(0), 0, 9000);
    assert!(room.ask(Wish::Start(1000)) && !room.ask(Wish::Return(1001)));
    room.queue(key(1), Wish::Return(3000));
    room.queue(key(2), Wish::Start(500));
    assert!(!room.ask(Wish::Start(1)), "others were first");
    assert_eq!((room.let_in(), room.wants_leavers()), (None, true));
    room.charge(key(0), 9000, 7000);
    assert_eq!(room.let_in(), Some((key(1), Wish::Return(3000))));
    room.charge(key(0), 0, 3000);
    assert_eq!(room.let_in(), None);
    room.charge(key(0), 3000, 0);
    assert_eq!(room.let_in(), Some((key(2), Wish::Start(500))));
    room.charge(key(0), 0, 500);
    assert!(!room.wants_leavers());
    assert!(
        !room.is_short() && {
            room.charge(key(0), 0, 2000);
            room.is_short()
        },
        "soon others may come"
    );
}

#[test]
fn one_alone_may_take_what_it_likes() {
    let mut room = room();
    assert!(room.ask(Wish::Return(50_000)));
    room.charge(key(0), 0, 50_000);
    assert!(!room.is_over() && room.is_short() && !room.wants_leavers());
    assert!(!room.ask(Wish::Start(1)));
    room.queue(key(1), Wish::Start(1));
    assert!(room.wants_leavers());
    room.charge(key(0), 0, 1);
    assert!(room.is_over());
}

/// Without an exit one at a time grows beyond the budget, until it rests; the others go on then, or when memory does.
#[test]
fn without_an_exit_one_grows_at_a_time() {
    let mut room = room();
    room.charge(key(0), 0, 6000);
    room.charge(key(0), 0, 6000);
    assert!(!room.must_pause(key(1)));
    assert!(room.must_pause(key(2)) && !room.must_pause(key(1)));
    room.queue(key(2), Wish::GoOn);
    assert_eq!(room.let_in(), None);
    room.rests(key(1));
    assert_eq!(room.let_in(), Some((key(2), Wish::GoOn)));
    assert!(room.must_pause(key(1)));
    room.queue(key(1), Wish::GoOn);
    room.has_exit = true;
    assert_eq!(room.let_in(), Some((key(1), Wish::GoOn)), "then others make room");
    assert!(!room.must_pause(key(3)));
}

/// The one that grew goes to disk: the others do not wait for it to rest there.
#[test]
fn who_left_memory_holds_no_one_up() {
    let mut room = room();
    room.charge(key(1), 0, 6000);
    room.charge(key(2), 0, 11_000);
    room.charge(key(3), 0, 600);
    assert!(!room.must_pause(key(1)) && room.must_pause(key(2)) && room.must_pause(key(3)));
    room.queue(key(2), Wish::GoOn);
    room.queue(key(3), Wish::GoOn);
    room.charge(key(1), 6000, 0);
    room.queue(key(1), Wish::Return(6000));
    assert_eq!(room.let_in(), Some((key(2), Wish::GoOn)));
    assert_eq!(room.let_in(), None);
}

/// Those in memory go before those that are not, for whom they make room, but in order among themselves.
#[test]
fn those_in_memory_go_on_before_others_come() {
    let mut room = room();
    room.charge(key(0), 0, 6000);
    room.charge(key(0), 0, 6000);
    room.queue(key(1), Wish::Start(500));
    assert!(!room.must_pause(key(2)) && room.must_pause(key(3)));
    room.queue(key(3), Wish::GoOn);
    room.rests(key(2));
    assert_eq!(room.let_in(), Some((key(3), Wish::GoOn)));
    assert_eq!(room.let_in(), None);
}

/// Memory and disk are full: one that is on disk comes, and leaves its place there to another.
#[test]
fn a_full_disk_is_no_dead_end() {
    let mut room = room();
    room.charge(key(0), 0, 9900);
    room.queue(key(1), Wish::Return(600));
    room.queue(key(2), Wish::Return(600));
    room.has_exit = true;
    assert_eq!(room.let_in(), None);
    room.has_exit = false;
    assert_eq!(room.let_in(), Some((key(1), Wish::Return(600))));
    room.charge(key(0), 0, 600);
    assert_eq!(room.let_in(), None, "one at a time");
}

#[test]
fn what_is_kept_goes_before_any_vm() {
    let kept = Kept::default();
    let mut room = Room { budget_kib: BUDGET, ..Room::new(kept.clone()) };
    room.charge(key(0), 0, 9000);
    assert!(room.may_keep(1000) && !room.may_keep(1001));
    let charge = kept.charge(1000);
    assert!(!room.kept_too_much() && room.ask(Wish::Start(600)));
    room.charge(key(0), 0, 600);
    assert!(room.kept_too_much() && room.is_short() && !room.wants_leavers());
    drop(charge);
    assert!(!room.kept_too_much());
    // Whoever was let in may take just this hardware.
    room.queue(key(1), Wish::Return(400));
    let _charge = kept.charge(500);
    assert_eq!(room.let_in(), Some((key(1), Wish::Return(400))));
    room.charge(key(0), 0, 400);
    assert!(!room.kept_too_much());
    room.came(400);
    assert!(room.kept_too_much());
}

/// What ended takes its memory until it is destroyed: the next wait so long, and no VM has to go for them.
#[test]
fn what_is_not_free_yet_is_counted() {
    let mut room = room();
    room.has_exit = true;
    room.charge(key(1), 0, 9000);
    let going = room.going(9000);
    room.charge(key(1), 9000, 0);
    assert!(room.ask(Wish::Start(1000)) && !room.ask(Wish::Start(1001)) && !room.ask(Wish::Return(20_000)));
    room.queue(key(2), Wish::Return(20_000));
    assert_eq!((room.let_in(), room.wants_leavers()), (None, false));
    drop(going);
    assert_eq!(room.let_in(), Some((key(2), Wish::Return(20_000))));
}

proptest! {
    /// Whoever comes and goes: no more is taken than the budget, but by one alone; who waits is let in in order; and none waits
    /// while there is room for it.
    #[test]
    fn the_budget_holds(sizes in prop::collection::vec((0..4_u8, 1..12_000_u64), 0..200)) {
        let mut room = room();
        room.has_exit = true;
        let (mut here, mut waiting) = (Vec::new(), std::collections::VecDeque::new());
        for (n, (what, kib)) in sizes.into_iter().enumerate() {
            let wish = Wish::Return(kib);
            if what > 1 && !here.is_empty() {
                let gone = here.swap_remove(kib as usize % here.len());
                room.charge(key(0), gone, 0);
            } else if room.ask(wish) {
                room.charge(key(0), 0, kib);
                here.push(kib);
            } else {
                room.queue(key(n as u64), wish);
                waiting.push_back((key(n as u64), wish));
            }
            while let Some(let_in) = room.let_in() {
                prop_assert_eq!(Some(let_in), waiting.pop_front());
                room.came(let_in.1.kib());
                room.charge(key(0), 0, let_in.1.kib());
                here.push(let_in.1.kib());
            }
            let taken: u64 = here.iter().sum();
            prop_assert_eq!((room.taken_kib(), room.coming_kib), (taken, 0));
            prop_assert!(taken <= BUDGET || here.len() == 1);
            if let Some((_, wish)) = waiting.front() {
                prop_assert!(!here.is_empty() && taken + wish.kib() > BUDGET && room.wants_leavers());
            }
        }
    }

    /// Whatever VMs do, and whether they can leave or not: as long as someone waits, one that has memory does not.
    #[test]
    fn who_waits_waits_for_one_that_goes_on(steps in prop::collection::vec((0..8_u8, 0..6_u64, 1..8000_u64), 0..300)) {
        let mut room = room();
        // What each VM takes, on disk or here, and its place in the queue.
        let mut vms = [(0, false, None); 6];
        for (what, n, kib) in steps {
            let (key, vm) = (key(n), &mut vms[n as usize]);
            match (what, *vm) {
                (0, (_, _, None)) => room.has_exit = false,
                // It ends, or goes to disk.
                (1 | 2, (before, true, None)) => {
                    room.has_exit |= what == 1;
                    room.charge(key, before, 0);
                    *vm = (before, false, None);
                }
                (3, (_, true, None)) => room.rests(key),
                (_, (before, true, None)) => {
                    room.charge(key, before, before + kib);
                    vm.0 += kib;
                    if room.must_pause(key) {
                        vm.2 = Some(room.queue(key, Wish::GoOn));
                    }
                }
                (1, (_, false, Some(ticket))) => {
                    room.leave_queue(ticket);
                    vm.2 = None;
                }
                (_, (before, false, None)) => {
                    let wish = if before == 0 { Wish::Start(kib) } else { Wish::Return(before) };
                    if room.ask(wish) {
                        room.charge(key, 0, wish.kib());
                        *vm = (wish.kib(), true, None);
                    } else {
                        vm.2 = Some(room.queue(key, wish));
                    }
                }
                _ => {}
            }
            while let Some((key, wish)) = room.let_in() {
                let vm = &mut vms[key.0 as usize];
                if wish != Wish::GoOn {
                    room.charge(key, 0, wish.kib());
                    vm.0 = wish.kib();
                }
                (vm.1, vm.2) = (true, None);
                room.came(wish.kib());
            }
            let goes_on = vms.iter().any(|(_, here, ticket)| *here && ticket.is_none());
            prop_assert!(room.queue.is_empty() || goes_on, "{room:?}");
        }
    }
}

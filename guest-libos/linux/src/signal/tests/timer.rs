//! Timers.
use super::*;
use proptest::prelude::*;

fn event(notify: u32, signal: u32, tid: u32) -> [u8; 64] {
    let mut event = [0; 64];
    event[0] = 5;
    event[8..12].copy_from_slice(&signal.to_le_bytes());
    event[12..16].copy_from_slice(&notify.to_le_bytes());
    event[16..20].copy_from_slice(&tid.to_le_bytes());
    event
}

fn every(value_ns: u64, interval_ns: u64) -> Interval {
    Interval { interval_ns, value_ns }
}

#[test]
fn an_interval_timer_counts_in_its_own_time() {
    let mut signals = two();
    signals.itimers.set(0, every(100, 30), at(0)).unwrap();
    signals.itimers.set(2, every(100, 0), at(0)).unwrap();
    assert_eq!(signals.itimers.set(3, every(1, 1), at(0)), Err(Errno::EINVAL));
    assert_eq!((signals.next_timer(at(0), true), signals.next_timer(at(150), true)), (Some(100), Some(100)));
    assert_eq!(signals.tick(at(99)), []);
    assert_eq!(signals.tick(at(165)), [MAIN], "once, though three passed");
    assert_eq!(signals.itimers.get(0, at(165)), Ok(every(25, 30)));
    assert_eq!(signals.next_timer(at(165), false), Some(190));
    assert_eq!(signals.deliver(MAIN, at(0)), Delivery::Terminate { signal: Signal::SIGALRM });
    assert_eq!(signals.tick(at(200)).len(), 2, "100 ns of CPU time are over now");
}

#[test]
fn alarm_rounds_as_linux_does() {
    let mut signals = two();
    assert_eq!(signals.itimers.alarm(3, at(0)), 0);
    assert_eq!(signals.itimers.alarm(7, at(1_400_000_000)), 2);
    assert_eq!(signals.itimers.alarm(0, at(8_399_999_999)), 1, "never 0 for one that is on");
    assert_eq!(signals.itimers.alarm(u32::MAX, at(8_399_999_999)), 0);
}

#[test]
fn timeval_round_trips() {
    let mut bytes = every(3_000_005_000, 7_000).to_timeval();
    assert_eq!(Interval::from_timeval(&bytes), Ok(every(3_000_005_000, 7_000)));
    assert_eq!(Interval::from_timeval(&every(1, 0).to_timeval()), Ok(every(1000, 0)));
    bytes[8..16].copy_from_slice(&1_000_000_u64.to_le_bytes());
    assert_eq!(Interval::from_timeval(&bytes), Err(Errno::EINVAL));
}

#[test]
fn errors_of_making_timers() {
    let mut signals = two();
    assert_eq!(signals.timer_create(99, None), Err(Errno::EINVAL));
    assert_eq!(signals.timer_create(1, Some(&event(0, 65, 0))), Err(Errno::EINVAL));
    assert_eq!(signals.timer_create(1, Some(&event(4, 10, 99))), Err(Errno::EINVAL));
    assert_eq!(signals.timer_create(1, Some(&event(3, 10, 10))), Err(Errno::EINVAL));
    for id in 0..TIMERS_MAX as i32 {
        assert_eq!(signals.timer_create(1, None), Ok(id));
    }
    assert_eq!(signals.timer_create(1, None), Err(Errno::EAGAIN));
    signals.timer_delete(3).unwrap();
    assert_eq!(signals.timer_delete(3), Err(Errno::EINVAL));
    assert_eq!(signals.timer_gettime(3, at(0)), Err(Errno::EINVAL));
    assert_eq!(signals.timer_create(1, None), Ok(3));
}

#[test]
fn a_timer_rests_while_its_signal_is_pending() {
    let mut signals = two();
    handle(&mut signals, 40, 0);
    let id = signals.timer_create(1, Some(&event(4, 40, 11))).unwrap();
    signals.timer_settime(id, 0, every(10, 10), at(0)).unwrap();
    assert_eq!((signals.tick(at(10)), signals.tick(at(35))), (vec![OTHER], vec![]));
    assert_eq!((signals.next_timer(at(35), true), signals.timer_gettime(id, at(35))), (None, Ok(every(5, 10))));
    let Delivery::Handle(handler) = signals.deliver(OTHER, at(35)) else { panic!("no handler") };
    assert_eq!((handler.info.code(), handler.info.overrun(), handler.info.bytes()[24]), (-2, 2, 5));
    assert_eq!((signals.timer_getoverrun(id), signals.next_timer(at(35), true)), (Ok(2), Some(40)));
}

#[test]
fn a_timer_goes_on_when_its_signal_is_ignored() {
    let mut signals = two();
    handle(&mut signals, 10, 0);
    let id = signals.timer_create(1, Some(&event(0, 10, 0))).unwrap();
    signals.timer_settime(id, 1, every(10, 10), at(0)).unwrap();
    signals.tick(at(10));
    signals.sigaction(10, Some(Action { handler: 1, ..Action::default() }), 8).unwrap();
    assert_eq!(signals.tick(at(35)), []);
    assert_eq!(signals.next_timer(at(35), true), Some(40));
    handle(&mut signals, 10, 0);
    assert_eq!(signals.tick(at(40)), [MAIN]);
}

#[test]
fn one_that_tells_nobody_is_looked_at() {
    let mut signals = two();
    let id = signals.timer_create(3, Some(&event(1, 0, 0))).unwrap();
    signals.timer_settime(id, 0, every(10, 0), at(0)).unwrap();
    assert_eq!(signals.timer_gettime(id, at(10)), Ok(every(5, 0)), "CPU time runs at half speed here");
    assert_eq!((signals.timer_gettime(id, at(90)), signals.tick(at(90))), (Ok(every(0, 0)), vec![]));
}

proptest! {
    /// Any numbers: no overflow, and a tick leaves nothing that is due.
    #[test]
    fn hostile_times(value in any::<u64>(), interval in any::<u64>(), absolute in 0u32..2, times in prop::collection::vec(any::<u64>(), 1..8)) {
        let mut signals = two();
        handle(&mut signals, 14, 0);
        let id = signals.timer_create(0, None).unwrap();
        signals.timer_settime(id, absolute, every(value, interval), at(7)).unwrap();
        signals.itimers.set(0, every(value, interval), at(7)).unwrap();
        for ns in times {
            signals.tick(at(ns));
            prop_assert!(signals.next_timer(at(ns), true).is_none_or(|next| next > ns));
            signals.timer_gettime(id, at(ns)).unwrap();
            signals.deliver(MAIN, at(ns));
        }
    }
}

//! Tests of signals: against the manual, a naive model, and the host.
mod calls;
mod fault;
mod flow;
mod frame;
mod model;
mod timer;

use super::*;
use crate::errno::Errno;
use crate::thread::{Now, Tid, Wake};

pub(super) const MAIN: Tid = Tid(10);
pub(super) const OTHER: Tid = Tid(11);

/// Process 10 with threads 10 and 11.
pub(super) fn two() -> Signals {
    let mut signals = Signals::new(MAIN, 1000);
    signals.thread_started(OTHER, MAIN);
    signals
}

pub(super) fn at(mono_ns: u64) -> Times {
    Times { now: Now { mono_ns, realtime_base_ns: 0 }, cpu_ns: mono_ns / 2 }
}

pub(super) fn set(numbers: &[i32]) -> SigSet {
    numbers.iter().fold(SigSet::default(), |set, &number| set.union(SigSet::of(Signal::new(number).unwrap())))
}

/// Gives a signal a handler.
pub(super) fn handle(signals: &mut Signals, signal: i32, flags: u32) {
    let action = Action { handler: 0x1000, flags: u64::from(flags), restorer: 0, mask: SigSet::default() };
    signals.sigaction(signal, Some(action), 8).unwrap();
}

pub(super) fn block(signals: &mut Signals, tid: Tid, numbers: &[i32]) {
    signals.sigprocmask(tid, 2, Some(set(numbers)), 8).unwrap();
}

/// What is delivered to a thread: a signal to its handler.
pub(super) fn handled(signals: &mut Signals, tid: Tid) -> Option<Handler> {
    match signals.deliver(tid, at(0)) {
        Delivery::Handle(handler) => Some(*handler),
        Delivery::None => None,
        other @ Delivery::Terminate { .. } => panic!("{other:?}"),
    }
}

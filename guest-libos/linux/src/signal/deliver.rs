//! Delivery: what a thread does about its pending signals before it goes on in the program.
use super::action::{Action, DEFAULT, DefaultAction, IGNORE};
use super::altstack::AltStack;
use super::info::Info;
use super::number::{SigSet, Signal};
use super::state::Signals;
use super::timer::Times;
use crate::thread::Tid;
use alloc::boxed::Box;
use linux_raw_sys::general as raw;

/// A handler that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// The signal.
    pub info: Info,
    /// Its action, with the handler's address.
    pub action: Action,
    /// The mask that `rt_sigreturn` brings back.
    pub mask: SigSet,
    /// The thread's alternate stack, as it was.
    pub altstack: AltStack,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The thread goes on.
    None,
    /// It goes on in a handler; then ask again: there may be another, which runs first.
    Handle(Box<Handler>),
    /// The process ends; its exit status is 128 and the signal's number.
    Terminate {
        /// The signal.
        signal: Signal,
    },
}

impl Signals {
    /// Takes pending signals until one has something to do. Ends: each round takes one that is pending.
    pub fn deliver(&mut self, tid: Tid, times: Times) -> Delivery {
        loop {
            let Ok(thread) = self.thread(tid) else { return Delivery::None };
            let (mask, saved, called) = (thread.mask, thread.saved.is_some(), thread.called);
            let Some(info) = self.take(tid, SigSet(!mask.0), called, times) else {
                if !saved {
                    self.thread_mut(tid).into_iter().for_each(|thread| thread.called = false);
                    return Delivery::None;
                }
                // Back to the thread's own mask, which may let through what the call's did not.
                self.end_mask(tid);
                continue;
            };
            let signal = info.signal();
            let action = *self.action(signal);
            match (action.handler, DefaultAction::of(signal)) {
                (IGNORE, _) | (DEFAULT, DefaultAction::Ignore | DefaultAction::Stop) => {}
                (DEFAULT, DefaultAction::Terminate) => return Delivery::Terminate { signal },
                _ => return self.handle(tid, info, action),
            }
        }
    }

    /// The thread goes to a handler: what that changes before the handler runs.
    fn handle(&mut self, tid: Tid, info: Info, action: Action) -> Delivery {
        let signal = info.signal();
        if action.has(raw::SA_RESETHAND) {
            self.actions[signal.index()].handler = DEFAULT;
        }
        let Ok(thread) = self.thread_mut(tid) else { return Delivery::None };
        let mask = thread.saved.take().unwrap_or(thread.mask);
        let itself = if action.has(raw::SA_NODEFER) { SigSet::default() } else { SigSet::of(signal) };
        thread.mask = thread.mask.union(action.mask).union(itself).without(SigSet::UNBLOCKABLE);
        let altstack = thread.altstack;
        if altstack.flags & raw::SS_AUTODISARM != 0 {
            thread.altstack = AltStack::OFF;
        }
        Delivery::Handle(Box::new(Handler { info, action, mask, altstack }))
    }

    /// A frame could not be made, or one was bad: the thread gets SIGSEGV; and without a handler if that was it.
    pub fn frame_failed(&mut self, tid: Tid, signal: Option<Signal>) {
        if signal == Some(Signal::SIGSEGV) {
            self.actions[Signal::SIGSEGV.index()].handler = DEFAULT;
        }
        self.force(tid, Info::kernel(Signal::SIGSEGV));
    }
}

//! All signal state of the process, and what each thread has of it.
use super::action::Action;
use super::altstack::AltStack;
use super::itimer::Itimers;
use super::number::{SigSet, Signal};
use super::pending::Pending;
use super::timer::Timers;
use crate::errno::Errno;
use crate::thread::Tid;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

#[derive(Debug, Default)]
pub(super) struct OfThread {
    pub(super) mask: SigSet,
    /// The mask to go back to, while a call has its own (`rt_sigsuspend`, `ppoll`, …).
    pub(super) saved: Option<SigSet>,
    /// Whether it was chosen for a signal or changed its mask since it last had nothing to take (Linux's TIF_SIGPENDING):
    /// others leave the process's signals to who was chosen, whose wait one of them is meant to end.
    pub(super) called: bool,
    /// What `rt_sigtimedwait` waits for.
    pub(super) waiting: SigSet,
    pub(super) pending: Pending,
    pub(super) altstack: AltStack,
}

/// Signal state of the process.
pub struct Signals {
    pub(super) actions: [Action; 64],
    pub(super) threads: BTreeMap<Tid, OfThread>,
    pub(super) shared: Pending,
    /// Signals in all queues.
    pub(super) queued: usize,
    pub(super) timers: Timers,
    /// `setitimer`, `getitimer`, `alarm`.
    pub itimers: Itimers,
    pub(super) pid: Tid,
    pub(super) uid: u32,
}

impl Signals {
    /// A process whose main thread is `pid`, run by `uid`: all actions default, nothing blocked or pending.
    #[must_use]
    pub fn new(pid: Tid, uid: u32) -> Self {
        let mut threads = BTreeMap::new();
        threads.insert(pid, OfThread::default());
        Self {
            actions: [Action::default(); 64],
            threads,
            shared: Pending::default(),
            queued: 0,
            timers: Timers::default(),
            itimers: Itimers::default(),
            pid,
            uid,
        }
    }

    /// A thread was made: it has its parent's mask, and nothing else.
    pub fn thread_started(&mut self, tid: Tid, parent: Tid) {
        let mask = self.threads.get(&parent).map(|parent| parent.mask).unwrap_or_default();
        self.threads.insert(tid, OfThread { mask, altstack: AltStack::OFF, ..OfThread::default() });
    }

    /// A thread ended, with what was sent to it alone. Gives threads to interrupt for what was sent to the process.
    pub fn thread_ended(&mut self, tid: Tid) -> Vec<Tid> {
        if let Some(thread) = self.threads.remove(&tid) {
            self.queued = self.queued.saturating_sub(thread.pending.len());
        }
        self.retarget()
    }

    pub(super) fn thread(&self, tid: Tid) -> Result<&OfThread, Errno> {
        self.threads.get(&tid).ok_or(Errno::ESRCH)
    }

    pub(super) fn thread_mut(&mut self, tid: Tid) -> Result<&mut OfThread, Errno> {
        self.threads.get_mut(&tid).ok_or(Errno::ESRCH)
    }

    pub(super) fn action(&self, signal: Signal) -> &Action {
        &self.actions[signal.index()]
    }

    /// Chooses threads again for the signals of the process, and gives them to be interrupted. Call it after what may have
    /// blocked a signal for who was chosen: each change of a mask, and a handler's start. It costs nothing if none is pending.
    pub fn retarget(&mut self) -> Vec<Tid> {
        let mut found = Vec::new();
        let mut left = self.shared.set;
        while let Some(signal) = left.first() {
            left = left.without(SigSet::of(signal));
            if let Some(tid) = self.choose(signal).filter(|tid| !found.contains(tid)) {
                found.push(tid);
            }
        }
        found.iter().for_each(|&tid| self.call(tid));
        found
    }

    pub(super) fn call(&mut self, tid: Tid) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.called = true;
        }
    }

    /// The thread that takes a signal of the process: the main one if it doesn't block it, else the first that doesn't.
    pub(super) fn choose(&self, signal: Signal) -> Option<Tid> {
        let main = self.threads.get_key_value(&self.pid);
        main.into_iter().chain(&self.threads).find(|(_, thread)| thread.wants(signal)).map(|(&tid, _)| tid)
    }

    /// Signals that would do something if the thread went on in the program now: a call must not block while there is one.
    #[must_use]
    pub fn interrupts(&self, tid: Tid) -> bool {
        let Some(thread) = self.threads.get(&tid) else { return false };
        let shared = if thread.called { self.shared.set } else { SigSet::default() };
        let mut left = thread.pending.set.union(shared).without(thread.mask);
        while let Some(signal) = left.first() {
            if !self.action(signal).ignores(signal) {
                return true;
            }
            left = left.without(SigSet::of(signal));
        }
        false
    }
}

impl OfThread {
    /// Changes its mask, which may let it take what it was not chosen for.
    pub(super) fn set_mask(&mut self, mask: SigSet) {
        self.mask = mask.without(SigSet::UNBLOCKABLE);
        self.called = true;
    }

    /// Whether it can be given this signal, to handle it or to return it from a wait for it.
    pub(super) fn wants(&self, signal: Signal) -> bool {
        !self.mask.without(self.waiting).has(signal)
    }
}

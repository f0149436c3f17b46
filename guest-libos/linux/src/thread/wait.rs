//! Waiting: who waits for what, and for how long; each thread that is woken leaves all queues at once.
//!
//! Keeps true: a blocked thread is in `timers` exactly if it has a deadline, and in `tokens` or `futexes` exactly with what
//! it waits for; no other thread is in any of them.
use super::table::{State, Threads, Tid};
use super::time::NEVER;
use crate::errno::Errno;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Tokens that all threads together can wait for at a time (16 for each thread); more gets `ENOMEM`.
pub const WAITS_MAX: usize = 65_536;

/// What the current thread is to wait for. `until_ns` is of the VM's clock; `None` for no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For the time to come (`nanosleep`), or a signal (`pause`, `rt_sigsuspend`, `rt_sigtimedwait`).
    Time {
        /// The limit.
        until_ns: Option<u64>,
    },
    /// For any of these tokens, which `fs` gives out.
    Tokens {
        /// The tokens, in any order.
        tokens: Vec<u64>,
        /// The limit.
        until_ns: Option<u64>,
    },
}

/// Why a thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Another thread woke it through a futex.
    Futex,
    /// This token became ready: look again.
    Token(u64),
    /// The time has come.
    TimedOut,
    /// A signal is there for it.
    Interrupted,
}

/// What a blocked thread is queued at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum On {
    Time,
    Tokens(Vec<u64>),
    Futex { address: u64, ticket: u64 },
}

/// A thread that waits at a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) tid: Tid,
    pub(super) bitset: u32,
    /// Whether it is to own a mutex when it is woken (`FUTEX_LOCK_PI`).
    pub(super) pi: bool,
}

#[derive(Default)]
pub(super) struct Waits {
    pub(super) timers: BTreeSet<(u64, Tid)>,
    tokens: BTreeSet<(u64, Tid)>,
    /// By address and ticket: tickets only grow, so the first comes first.
    pub(super) futexes: BTreeMap<(u64, u64), Waiter>,
    last_ticket: u64,
}

impl Waits {
    pub(super) fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }
}

impl Threads {
    /// Blocks the current thread. Look for signals of its own before: [`Threads::interrupt`] finds only blocked threads.
    ///
    /// # Errors
    /// `ENOMEM` beyond [`WAITS_MAX`]; `ESRCH` if no thread runs.
    pub fn block(&mut self, wait: Wait) -> Result<(), Errno> {
        let tid = self.current.ok_or(Errno::ESRCH)?;
        match wait {
            Wait::Time { until_ns } => self.suspend(On::Time, until_ns),
            Wait::Tokens { mut tokens, until_ns } => {
                tokens.sort_unstable();
                tokens.dedup();
                tokens.shrink_to_fit();
                if self.waits.tokens.len().saturating_add(tokens.len()) > WAITS_MAX {
                    return Err(Errno::ENOMEM);
                }
                self.waits.tokens.extend(tokens.iter().map(|&token| (token, tid)));
                self.suspend(On::Tokens(tokens), until_ns);
            }
        }
        Ok(())
    }

    /// Takes the CPU from the current thread, which is in its queue already.
    pub(super) fn suspend(&mut self, on: On, until: Option<u64>) {
        let until = until.filter(|&until| until != NEVER);
        let Some(tid) = self.current.take() else { return };
        let Some(thread) = self.table.get_mut(&tid) else { return };
        (thread.state, thread.on, thread.until, thread.wake) = (State::Blocked, on, until, None);
        if let Some(until) = until {
            self.waits.timers.insert((until, tid));
        }
    }

    /// Makes a blocked thread ready, behind all others. Whether it was blocked.
    pub(super) fn wake(&mut self, tid: Tid, wake: Wake) -> bool {
        let Some(thread) = self.table.get_mut(&tid).filter(|thread| thread.state == State::Blocked) else {
            return false;
        };
        (thread.state, thread.wake) = (State::Ready, Some(wake));
        let (on, until) = (core::mem::replace(&mut thread.on, On::Time), thread.until.take());
        if let Some(until) = until {
            self.waits.timers.remove(&(until, tid));
        }
        match on {
            On::Time => {}
            On::Tokens(tokens) => {
                for token in tokens {
                    self.waits.tokens.remove(&(token, tid));
                }
            }
            On::Futex { address, ticket } => {
                self.waits.futexes.remove(&(address, ticket));
            }
        }
        self.ready.push_back(tid);
        true
    }

    /// A token became ready: wakes all that wait for it. How many.
    pub fn token_ready(&mut self, token: u64) -> usize {
        let all = (token, Tid(0))..=(token, Tid(u32::MAX));
        let waiting: Vec<Tid> = self.waits.tokens.range(all).map(|&(_, tid)| tid).collect();
        waiting.into_iter().filter(|&tid| self.wake(tid, Wake::Token(token))).count()
    }

    /// A signal is there for a thread: its wait ends. Whether it was waiting.
    pub fn interrupt(&mut self, tid: Tid) -> bool {
        self.wake(tid, Wake::Interrupted)
    }

    /// Wakes all whose time has come.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(&(until, tid)) = self.waits.timers.first() {
            if until > now_ns {
                break;
            }
            self.waits.timers.pop_first();
            self.wake(tid, Wake::TimedOut);
        }
    }

    /// Why the current thread was woken from its last wait; once.
    pub fn woken(&mut self) -> Option<Wake> {
        let tid = self.current?;
        self.table.get_mut(&tid)?.wake.take()
    }
}

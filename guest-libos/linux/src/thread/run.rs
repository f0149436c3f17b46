//! Who runs: round robin, with a slice while others are ready.
use super::table::{State, Threads, Tid};

/// How long a thread runs while others are ready: 10 ms.
pub const SLICE_NS: u64 = 10_000_000;

/// What the CPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run this thread; the current one perhaps.
    Run(Tid),
    /// Nobody is ready: IDLE until this time, in ns of the VM's clock, or something happens outside.
    Idle(Option<u64>),
    /// There is no thread any more.
    Ended,
}

impl Threads {
    /// Chooses who runs: the current thread as long as there is one, else the one that has been ready the longest.
    pub fn next(&mut self, now_ns: u64) -> Next {
        self.expire(now_ns);
        if let Some(tid) = self.current {
            return Next::Run(tid);
        }
        while let Some(tid) = self.ready.pop_front() {
            if let Some(thread) = self.table.get_mut(&tid) {
                thread.state = State::Running;
                self.current = Some(tid);
                self.slice_end_ns = now_ns.saturating_add(SLICE_NS);
                return Next::Run(tid);
            }
        }
        if self.table.is_empty() { Next::Ended } else { Next::Idle(self.next_deadline()) }
    }

    /// Puts the current thread behind all that are ready: `sched_yield`, or its slice is over. Call [`Threads::next`] then.
    pub fn put_back(&mut self) {
        let Some(tid) = self.current.take() else { return };
        if let Some(thread) = self.table.get_mut(&tid) {
            thread.state = State::Ready;
            self.ready.push_back(tid);
        }
    }

    /// A timer interrupt: whether the current thread should be put back. One that ran alone for long gives way at once.
    pub fn slice_over(&mut self, now_ns: u64) -> bool {
        self.expire(now_ns);
        self.current.is_some() && !self.ready.is_empty() && now_ns >= self.slice_end_ns
    }

    /// When to look again while a thread runs, in ns of the VM's clock: the next deadline, and the slice's end if others are
    /// ready. `None`: no timer is wanted.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        [self.next_slice(), self.next_deadline()].into_iter().flatten().min()
    }

    /// When the current thread's slice ends, in ns of the VM's clock, if others are ready.
    #[must_use]
    pub fn next_slice(&self) -> Option<u64> {
        (self.current.is_some() && !self.ready.is_empty()).then_some(self.slice_end_ns)
    }

    fn next_deadline(&self) -> Option<u64> {
        self.waits.timers.first().map(|&(until, _)| until)
    }
}

//! From one thread to the next.

use super::{Again, Extended, Frame, Machine, Next, On, Parked, Process, Stop, Waiting, Waits};
use crate::{
    errno::Errno,
    signal::Times,
    thread::{self, NEVER, Tid, Wait, Wake},
};

/// A running VM is entered at least so often: what is due later needs no exit now, in ns.
const ENTERED_NS: u64 = 20_000_000;

impl<M: Machine> Process<M> {
    /// Keeps the frame of the current thread.
    pub(super) fn park(&mut self, frame: &Frame, call: Option<Waiting>) {
        self.park_as(self.current(), frame, call);
    }

    fn park_as(&mut self, tid: Tid, frame: &Frame, call: Option<Waiting>) {
        let fs_base = self.space.pages().fs_base();
        self.parked.insert(tid, Parked { frame: frame.clone(), fs_base, extended: Extended::default(), call });
    }

    /// Lets the current thread wait: all but its queue, if it is in one already.
    pub(super) fn block(&mut self, frame: &mut Frame, waiting: Waiting) -> Result<(), Next> {
        let until_ns = waiting.waits.until_ns;
        // Who waits at a futex has no CPU any more, but is still the one that is loaded.
        self.park_as(self.loaded, frame, Some(waiting));
        let token = u64::from(self.loaded.0);
        let wait = match waiting.waits.on {
            On::Futex => return Ok(()),
            On::Time => Wait::Time { until_ns },
            On::File(_) | On::Files => Wait::Tokens { tokens: alloc::vec![token], until_ns },
        };
        if self.threads.block(wait).is_err() {
            // Too many wait: the call fails at once.
            self.parked.remove(&self.loaded);
            frame.rax = Errno::ENOMEM.rax();
        }
        Ok(())
    }

    /// Chooses who runs, and puts its frame into `frame`. Waits if nobody can.
    pub(super) fn switch(&mut self, frame: &mut Frame) -> Next {
        loop {
            let times = self.tick();
            let tid = match self.threads.next(times.now.mono_ns) {
                thread::Next::Run(tid) => tid,
                thread::Next::Idle(until_ns) => {
                    self.idle(until_ns);
                    continue;
                }
                thread::Next::Ended => return Next::Exit(0),
            };
            let Some(parked) = self.parked.remove(&tid) else { return Next::Restore };
            *frame = self.load(tid, parked.frame, parked.fs_base, &parked.extended);
            let ready = match parked.call {
                None => Ok(true),
                Some(waiting) => self.make_again(frame, waiting),
            };
            match ready.and_then(|ready| if ready { self.take_signals(frame).map(|_| true) } else { Ok(false) }) {
                Err(over) => return over,
                Ok(false) => {}
                Ok(true) => {
                    self.arm(times);
                    return Next::Restore;
                }
            }
        }
    }

    /// Puts a thread's registers beyond the frame into the CPU.
    fn load(&mut self, tid: Tid, frame: Frame, fs_base: u64, extended: &Extended) -> Frame {
        if self.loaded == tid {
            return frame;
        }
        if let Some(other) = self.parked.get_mut(&self.loaded) {
            other.extended = self.space.pages().save();
        }
        self.space.pages().restore(extended);
        self.space.pages().set_fs_base(fs_base);
        self.loaded = tid;
        frame
    }

    /// Makes the call of the current thread again. Whether it is over.
    fn make_again(&mut self, frame: &mut Frame, waiting: Waiting) -> Result<bool, Next> {
        let wake = self.threads.woken().unwrap_or(Wake::Interrupted);
        let Waiting { waits, number, arguments } = waiting;
        self.again = Some(Again { wake, until_ns: waits.until_ns, done: waits.done });
        let answer = self.answer(number, arguments, frame);
        self.again = None;
        match answer {
            Ok(value) => frame.rax = value,
            Err(Stop::Error(error)) => frame.rax = error.rax(),
            Err(Stop::Waits(more)) => {
                if wake == Wake::TimedOut && matches!(more.on, On::File(_)) {
                    frame.rax = Self::late(number, more);
                    return Ok(true);
                }
                let waits = Waits { until_ns: more.until_ns.or(waits.until_ns), ..more };
                return self.wait(frame, Waiting { waits, number, arguments }).map(|waits| !waits);
            }
            // No other call waits.
            Err(_) => {}
        }
        Ok(true)
    }

    /// What came with time: signals of timers, and files that are ready. Gives the time.
    pub(super) fn tick(&mut self) -> Times {
        let times = self.times();
        let now_ns = times.now.mono_ns;
        let tids = self.signals.tick(times);
        for tid in tids {
            self.threads.interrupt(tid);
        }
        self.files.tick(now_ns);
        if self.space.pages().take_input() {
            self.files.input_came();
        }
        let seen = self.files.generation();
        let due = self.files.next_deadline().is_some_and(|due| due <= now_ns);
        if seen != self.files_seen || due {
            self.files_seen = seen;
            for (tid, parked) in &self.parked {
                let ready = match parked.call.map(|call| call.waits.on) {
                    Some(On::File(wait)) => self.files.is_ready(wait),
                    Some(On::Files) => true,
                    _ => false,
                };
                if ready {
                    self.threads.token_ready(tid.0.into());
                }
            }
        }
        times
    }

    /// Gives the VM's CPU away until something is due.
    fn idle(&mut self, until_ns: Option<u64>) {
        let times = self.times();
        let signals = self.signals.next_timer(times, false);
        let due = [until_ns, signals, self.files.next_deadline()].into_iter().flatten().min();
        self.space.pages().idle(due.unwrap_or(NEVER));
        self.timer_ns = 0;
    }

    /// Sets the timer to what is due next while a thread runs.
    pub(super) fn arm(&mut self, times: Times) {
        let now_ns = times.now.mono_ns;
        let exact = [self.signals.next_timer(times, true), self.files.next_deadline()].into_iter().flatten().min();
        let Some(next) = [exact, self.threads.next_timer()].into_iter().flatten().min() else { return };
        if self.timer_ns > now_ns && self.timer_ns <= next {
            return;
        }
        self.timer_ns = next;
        let urgent = next < now_ns.saturating_add(ENTERED_NS) && self.threads.next_slice() != Some(next);
        self.space.pages().set_timer(next, urgent);
    }
}

//! The door of a VM: its state, its gateway, and the way to stop it, shared between the thread that runs it and its
//! attendant.

use crate::{
    gateway::{Gateway, Progress, Verdict},
    kvm::{Thread, ThreadClock},
};
use denali_abi::registers::pending;
use denali_protocol::job::{Clock, Limits, Outcome};
use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Where a VM is in its life. Transitions: Built → Running ⇄ Idle, Running → Ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not entered yet.
    Built,
    /// A thread runs it, or is about to.
    Running,
    /// It gave up the CPU until something happens, or until this time.
    Idle(Option<Instant>),
    /// Over: only its result is left.
    Ended,
}

/// What is behind the door.
pub(crate) struct Inside {
    pub(crate) phase: Phase,
    pub(crate) gateway: Gateway,
    /// How far the rings were when the VM last woke. What moved since then ends an IDLE, even if it moved before the
    /// IDLE: the guest may have looked at its rings before that.
    pub(crate) seen: Progress,
    /// Why it has to stop. The first reason stands.
    pub(crate) verdict: Option<Verdict>,
    /// KICKs seen.
    pub(crate) kicks: u64,
    /// Set by the first entry.
    pub(crate) course: Option<Course>,
}

impl Inside {
    /// What happened on the cable since the VM last woke, as bits of [`pending`].
    pub(crate) fn happened(&self) -> u64 {
        let now = self.gateway.progress();
        let bit = |moved, bit| if moved { bit } else { 0 };
        bit(now.received != self.seen.received, pending::RECEIVE) | bit(now.taken != self.seen.taken, pending::TRANSMIT)
    }

    /// Serves the cable. What the guest did wrong on it is the verdict.
    pub(crate) fn serve(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        if let Err(error) = self.gateway.pump() {
            // What it put out before it broke a rule is passed on.
            self.gateway.flush();
            self.verdict = Some(error.into());
        }
    }

    /// The VM wakes, and is told of all that happened so far.
    pub(crate) fn wake(&mut self) {
        self.phase = Phase::Running;
        self.seen = self.gateway.progress();
    }
}

/// A VM's time from its first entry on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) thread: Thread,
    clock: ThreadClock,
    entered: Instant,
    cpu_at_entry: Duration,
}

impl Course {
    /// Begins now, on the calling thread.
    pub(crate) fn begin() -> Self {
        let thread = Thread::current();
        let clock = thread.clock();
        Self { thread, clock, entered: Instant::now(), cpu_at_entry: clock.now() }
    }

    /// CPU time used by the VM.
    pub(crate) fn cpu(&self) -> Duration {
        self.clock.now().saturating_sub(self.cpu_at_entry)
    }

    /// Time passed.
    pub(crate) fn wall(&self) -> Duration {
        self.entered.elapsed()
    }
}

/// The door of one VM.
pub(crate) struct Door {
    inside: Mutex<Inside>,
    wake: Condvar,
    /// Written by KVM when the guest issues KICK.
    pub(crate) doorbell: OwnedFd,
    /// The job's input where one may have to wait for it: another descriptor of the same pipe or terminal.
    pub(crate) input: Option<OwnedFd>,
    limits: Limits,
}

/// When an attendant should look at a VM again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// After this time, if nothing else happened.
    pub(crate) after: Duration,
    /// Or when there is input to read.
    pub(crate) on_input: bool,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("phase", &self.lock().phase).finish_non_exhaustive()
    }
}

impl Door {
    pub(super) fn new(gateway: Gateway, doorbell: OwnedFd, input: Option<OwnedFd>, limits: Limits) -> Self {
        let inside =
            Inside { phase: Phase::Built, gateway, seen: Progress::default(), verdict: None, kicks: 0, course: None };
        Self { inside: Mutex::new(inside), wake: Condvar::new(), doorbell, input, limits }
    }

    /// What is behind it. A thread that panicked inside leaves a VM that is stopped like any other.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until someone knocks, at most until `until`.
    pub(super) fn wait<'a>(&self, inside: MutexGuard<'a, Inside>, until: Option<Instant>) -> MutexGuard<'a, Inside> {
        match until {
            None => self.wake.wait(inside).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.wake.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Ends the VM with this outcome, unless it already has to end.
    pub(crate) fn stop(&self, outcome: Outcome) {
        let mut inside = self.lock();
        inside.verdict.get_or_insert(Verdict::Outcome(outcome));
        self.knock(&inside);
    }

    /// Attends to the VM: serves its rings, checks its limits, and interrupts it if it has to stop. `None` for a VM that
    /// needs no more looks.
    pub(crate) fn attend(&self) -> Option<Look> {
        let mut inside = self.lock();
        if inside.phase == Phase::Ended {
            return None;
        }
        self.count_kicks(&mut inside);
        inside.serve();
        let left = self.check_limits(&mut inside);
        self.knock(&inside);
        let after = match inside.phase {
            // A signal that came just before the entry was lost: knock again.
            _ if inside.verdict.is_some() => Duration::from_millis(1),
            Phase::Idle(until) if inside.happened() == 0 && !inside.gateway.held() => {
                // It may wake by itself then, and run on.
                let sleep = until.map_or(left, |until| until.saturating_duration_since(Instant::now()));
                left.min(sleep.saturating_add(LOOK_INTERVAL))
            }
            _ => left.min(LOOK_INTERVAL),
        };
        // A VM that has to end gets no more input: not to look at it is not to look in vain.
        Some(Look { after, on_input: inside.verdict.is_none() && inside.gateway.waits_for_input() })
    }

    /// Reads the doorbell's counter.
    pub(super) fn count_kicks(&self, inside: &mut Inside) {
        // The counter is non-blocking: an error means that no kick came.
        let mut count = [0; 8];
        if rustix::io::read(&self.doorbell, &mut count).is_ok() {
            inside.kicks += u64::from_ne_bytes(count);
        }
    }

    /// Time until the next limit could be reached.
    fn check_limits(&self, inside: &mut Inside) -> Duration {
        let Some(course) = inside.course else { return LOOK_INTERVAL };
        let limit = |us| Duration::from_micros(us);
        let wall_left = limit(self.limits.wall_time_us).saturating_sub(course.wall());
        let cpu_left = limit(self.limits.cpu_time_us).saturating_sub(course.cpu());
        let reached = |clock, limit_us| Verdict::Outcome(Outcome::TimeLimit { clock, limit_us });
        if wall_left.is_zero() {
            inside.verdict.get_or_insert(reached(Clock::Wall, self.limits.wall_time_us));
        } else if cpu_left.is_zero() {
            inside.verdict.get_or_insert(reached(Clock::Cpu, self.limits.cpu_time_us));
        }
        // An idle VM uses no CPU time.
        let left = if matches!(inside.phase, Phase::Idle(_)) { wall_left } else { wall_left.min(cpu_left) };
        left.max(Duration::from_millis(1))
    }

    fn knock(&self, inside: &Inside) {
        match inside.phase {
            Phase::Idle(_) if inside.verdict.is_some() || inside.happened() != 0 => self.wake.notify_all(),
            Phase::Running if inside.verdict.is_some() => {
                if let Some(course) = inside.course {
                    course.thread.kick();
                }
            }
            Phase::Built | Phase::Running | Phase::Idle(_) | Phase::Ended => {}
        }
    }
}

/// How often the rings of a running VM are looked at without a kick: output is late by no more than this.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

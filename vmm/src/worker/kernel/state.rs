//! What the threads of a kernel share: each run and where it is in its life.
//!
//! ```text
//!  Waiting ──▶ Running ──▶ (ended: forgotten)
//!     │         ▲   │
//!     │         │   ▼
//!     │        Here: runnable or idle, as the scheduler has it
//!     │         ▲   │ the gatekeeper
//!     │         │   ▼
//!     │       Leaving ──▶ Asleep ──▶ Running
//!     ▼
//!  (cancelled, or the bundle is none: forgotten)
//! ```

use super::{Pending, Resident};
use crate::{
    kvm::Thread,
    schedule::{self, Scheduler, VmKey},
    vm::Asleep,
    worker::{
        message::{Counts, Status},
        shelf::Shelf,
        socket::SocketError,
    },
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// What a VM costs its host beside its own pages: the kernel's tables for it, in KiB.
///
/// Measured on software KVM (Linux 6.18) by `denali bench scale`: what 10,000 idle VMs take of the host's memory, less their
/// own pages.
pub(super) const OVERHEAD_KIB: u64 = 540;

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    pub(super) slots: HashMap<VmKey, Slot>,
    /// Runners that wait.
    pub(super) waiting: usize,
    /// The time that one of them watches.
    pub(super) watched: Option<Instant>,
    /// Why it is over, once it is.
    pub(super) closed: Option<Result<(), SocketError>>,
    /// Memory that VMs may take.
    pub(super) budget_kib: u64,
    /// Memory that they take, as last measured of each.
    pub(super) memory_kib: u64,
    /// Runs that wait for memory, in order.
    pub(super) queue_for_memory: VecDeque<VmKey>,
    /// Whether the keeper has been asked to make room.
    pub(super) relieving: bool,
    /// Whether the keeper has been asked to tell the node how things are.
    pub(super) telling: bool,
    pub(super) counts: Counts,
}

/// One run.
pub(super) struct Slot {
    pub(super) stage: Stage,
    pub(super) cancelled: bool,
    /// Input that came since a runner last looked.
    pub(super) mail: Vec<(Vec<u8>, bool)>,
    /// Whether the VM's input is among the events.
    pub(super) watched: bool,
    /// When it was woken, until it runs.
    pub(super) woken: Option<Instant>,
    pub(super) memory_kib: u64,
}

/// How far a run is.
pub(super) enum Stage {
    /// It has no VM yet.
    Waiting(Box<Pending>),
    /// Its VM is here.
    Here(Box<Resident>),
    /// A runner, this thread, has it.
    Running(Thread),
    /// The keeper has it, to write it to disk. Whether a runner wanted it meanwhile.
    Leaving { wanted: bool },
    /// Its VM is on disk.
    Asleep(Box<Sleeper>),
}

/// A VM on disk, and where its hardware goes after it.
pub(super) struct Sleeper {
    pub(super) vm: Asleep,
    pub(super) shelf: Arc<Shelf>,
    pub(super) reimage: bool,
}

/// A VM's turn.
pub(super) struct Turn {
    pub(super) key: VmKey,
    pub(super) stage: Stage,
    /// When it was woken, if it idled.
    pub(super) woken: Option<Instant>,
    pub(super) cancelled: bool,
}

impl State {
    pub(super) fn new(cpus: u32) -> Self {
        Self {
            scheduler: Scheduler::new(cpus),
            slots: HashMap::new(),
            waiting: 0,
            watched: None,
            closed: None,
            budget_kib: u64::MAX,
            memory_kib: 0,
            queue_for_memory: VecDeque::new(),
            relieving: false,
            telling: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn admit(&mut self, key: VmKey, pending: Pending) {
        let slot = Slot {
            stage: Stage::Waiting(Box::new(pending)),
            cancelled: false,
            mail: Vec::new(),
            watched: false,
            woken: None,
            memory_kib: 0,
        };
        self.slots.insert(key, slot);
        self.scheduler.add(key, Instant::now());
    }

    /// The next VM to run, for the calling thread.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let now = Instant::now();
        for key in self.scheduler.due(now) {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.woken = Some(now);
            }
        }
        loop {
            let key = self.scheduler.pick(now)?;
            let has_room = self.has_room();
            let Some(slot) = self.slots.get_mut(&key) else {
                self.scheduler.remove(key, Duration::ZERO, now);
                continue;
            };
            match &mut slot.stage {
                Stage::Leaving { wanted } => {
                    *wanted = true;
                    self.scheduler.idle(key, None, Duration::ZERO, now);
                }
                Stage::Waiting(_) if !has_room && !slot.cancelled => {
                    self.queue_for_memory.push_back(key);
                    self.scheduler.idle(key, None, Duration::ZERO, now);
                    // It has nothing to give, and is in the way of those that have.
                    self.scheduler.swapped(key);
                }
                stage => {
                    let stage = std::mem::replace(stage, Stage::Running(Thread::current()));
                    let (woken, cancelled) = (slot.woken.take(), slot.cancelled);
                    if !matches!(stage, Stage::Here(_)) {
                        self.set_memory(key, OVERHEAD_KIB);
                    }
                    self.counts.turns += 1;
                    return Some(Turn { key, stage, woken, cancelled });
                }
            }
        }
    }

    /// Whether another VM may come into memory. The only one always may.
    pub(super) fn has_room(&self) -> bool {
        self.memory_kib == 0 || self.memory_kib.saturating_add(OVERHEAD_KIB) <= self.budget_kib
    }

    /// Whether VMs should leave memory: they take too much, or a run waits for some.
    pub(super) fn is_short(&self) -> bool {
        self.memory_kib > self.budget_kib || !self.queue_for_memory.is_empty()
    }

    /// Whether memory will soon be short: kept hardware takes some too.
    pub(super) fn is_tight(&self) -> bool {
        self.memory_kib > self.budget_kib / 4 * 3
    }

    /// Notes what a VM takes of memory.
    pub(super) fn set_memory(&mut self, key: VmKey, kib: u64) {
        if let Some(slot) = self.slots.get_mut(&key) {
            self.memory_kib = self.memory_kib - slot.memory_kib + kib;
            slot.memory_kib = kib;
        }
        self.let_in();
    }

    /// Wakes as many of those that wait for memory as there is room for.
    pub(super) fn let_in(&mut self) {
        let mut room = self.budget_kib.saturating_sub(self.memory_kib) / OVERHEAD_KIB;
        if self.memory_kib == 0 {
            room = room.max(1);
        }
        for _ in 0..room {
            let Some(key) = self.queue_for_memory.pop_front() else { break };
            self.scheduler.wake(key, Instant::now());
        }
    }

    /// Wakes an idle VM. A run that waits for memory goes on waiting, whatever came for it but its end.
    pub(super) fn wake(&mut self, key: VmKey) {
        let now = Instant::now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let waits_for_memory = matches!(slot.stage, Stage::Waiting(_)) && !slot.cancelled;
        if !waits_for_memory && self.scheduler.wake(key, now) {
            slot.woken = Some(now);
        }
    }

    /// The calling thread has no VM and waits: for how long, if it is the one to watch the time.
    pub(super) fn begin_to_wait(&mut self) -> Option<Duration> {
        self.waiting += 1;
        self.watched = self.scheduler.next_timer();
        Some(self.watched?.saturating_duration_since(Instant::now()))
    }

    pub(super) fn put_back(&mut self, key: VmKey, resident: Box<Resident>) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.stage = Stage::Here(resident);
        }
    }

    pub(super) fn forget(&mut self, key: VmKey, used: Duration) {
        self.set_memory(key, 0);
        self.slots.remove(&key);
        self.scheduler.remove(key, used, Instant::now());
    }

    pub(super) fn status(&mut self, swap_bytes: u64) -> Status {
        self.telling = false;
        // One that was woken is asleep until its turn, and counts as what waits for it.
        let idles = |key: &VmKey| matches!(self.scheduler.state(*key), Some(schedule::State::Idle { .. }));
        let asleep = |(key, slot): &(&VmKey, &Slot)| matches!(slot.stage, Stage::Asleep(_)) && idles(key);
        let asleep = self.slots.iter().filter(asleep).count() as u32;
        let waiting = self.queue_for_memory.len() as u32;
        Status {
            runnable: self.scheduler.runnable() as u32 + waiting,
            running: self.scheduler.running() as u32,
            idle: (self.scheduler.idling() as u32).saturating_sub(asleep + waiting),
            swapped: asleep,
            memory_kib: self.memory_kib,
            swap_bytes,
            counts: self.counts.clone(),
        }
    }
}

impl Slot {
    /// Whether something came for its VM since a runner last looked.
    pub(super) fn has_news(&self) -> bool {
        self.cancelled || !self.mail.is_empty()
    }

    /// Interrupts its VM if it runs.
    pub(super) fn interrupt(&self) {
        if let Stage::Running(thread) = self.stage {
            thread.kick();
        }
    }
}

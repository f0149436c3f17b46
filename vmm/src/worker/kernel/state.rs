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

use super::{
    input::{Inflow, Mail},
    room::{OVERHEAD_KIB, Room, Ticket, Wish},
    vms::{Real, Vms},
};
use crate::{
    schedule::{self, SLICE, Scheduler, VmKey},
    vm::Asleep,
    worker::{
        message::{Counts, Status},
        shelf::{Charge, Kept, Shelf},
        socket::SocketError,
        source::Source,
    },
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) struct State<V: Vms = Real> {
    /// The time at which whoever has it came for it.
    pub(super) now: Instant,
    pub(super) scheduler: Scheduler,
    pub(super) slots: HashMap<VmKey, Slot<V>>,
    /// Runs whose turn goes on: a maker is done with their VMs, and took so much CPU time.
    ready: VecDeque<(VmKey, Duration)>,
    /// Runners that wait.
    pub(super) waiting: usize,
    /// The time that the clock is set to.
    clock_set: Option<Instant>,
    /// Why it is over, once it is.
    pub(super) closed: Option<Result<(), SocketError>>,
    pub(super) room: Room,
    /// One that computes and is to leave memory: it gets no turn before it has, as long as one has to.
    pub(super) leaver: Option<VmKey>,
    /// Those that could not be written to disk, by what they need there.
    stuck: BTreeSet<(u64, VmKey)>,
    /// When the operator was told that one could not.
    pub(super) complained: Option<Instant>,
    /// What the keeper has been asked to make.
    pub(super) asked: Asked,
    /// When it is looked again for one to leave ahead of need, after there was none.
    pub(super) ahead_at: Option<Instant>,
    /// Whether the keeper has been asked to tell the node how things are.
    pub(super) telling: bool,
    pub(super) counts: Counts,
}

/// What the keeper is asked to make: room that someone will want soon, or wants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Asked {
    Nothing,
    RoomAhead,
    Room,
}

/// One run.
pub(super) struct Slot<V: Vms = Real> {
    pub(super) stage: Stage<V>,
    pub(super) cancelled: bool,
    /// Input that came since a runner last looked.
    pub(super) mail: Mail,
    inflow: Inflow,
    /// When it was woken, until it runs.
    pub(super) woken: Option<Instant>,
    /// What it is charged of memory.
    memory_kib: u64,
    /// Of that, what it was let in with, until it is here.
    coming_kib: u64,
    /// Its place in the queue for memory.
    ticket: Option<Ticket>,
    /// When its first turn since it came into memory was over.
    pub(super) came: Option<Instant>,
    /// Whether it could not be written to disk, and how many bytes it needs there in one piece.
    stuck: Option<u64>,
}

/// How far a run is.
pub(super) enum Stage<V: Vms = Real> {
    /// It has no VM yet.
    Waiting(Box<V::Pending>),
    /// Its VM is here.
    Here(Box<V::Resident>),
    /// A runner, this thread, has it, or a maker that it was handed to.
    Running(V::Thread),
    /// The keeper has it, to write it to disk. Whether a runner wanted it meanwhile.
    Leaving { wanted: bool },
    /// Its VM is on disk.
    Asleep(Box<V::Sleeper>),
}

/// A VM on disk, and where its hardware goes after it.
pub(super) struct Sleeper {
    pub(super) vm: Asleep,
    /// What it takes when it is in memory.
    pub(super) memory_kib: u64,
    pub(super) shelf: Arc<Shelf>,
    pub(super) reimage: bool,
}

/// A VM's turn.
pub(super) struct Turn<V: Vms = Real> {
    pub(super) key: VmKey,
    pub(super) stage: Stage<V>,
    /// When it was woken, if it idled.
    pub(super) woken: Option<Instant>,
    pub(super) cancelled: bool,
    /// How long it may take.
    pub(super) slice: Duration,
    /// What a maker took of it.
    pub(super) used: Duration,
}

/// What a runner does next.
pub(super) enum Next<V: Vms> {
    /// It gives a VM its turn. Whether it wakes another runner before, for there are `others`; and whether it looks for events
    /// after, for no one else does.
    Turn { turn: Turn<V>, others: bool, no_one_listens: bool },
    /// It waits for something to happen. Whether memory is short.
    Wait { short: bool },
}

/// The same where too much memory is taken and none can leave: whoever grows is found out, and waits, before it grew much.
const SLICE_WHEN_OVER: Duration = Duration::from_millis(1);

/// How long a VM that came into memory stays there at the least, from its first turn on, though others wait: some ten times
/// what its trip to the disk and back takes.
fn stay(memory_kib: u64) -> Duration {
    Duration::from_millis(100) + Duration::from_micros(10).saturating_mul(memory_kib.try_into().unwrap_or(u32::MAX))
}

impl<V: Vms> State<V> {
    pub(super) fn new(cpus: u32, kept: Kept, now: Instant) -> Self {
        Self {
            now,
            scheduler: Scheduler::new(cpus),
            slots: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            clock_set: None,
            closed: None,
            room: Room::new(kept),
            leaver: None,
            stuck: BTreeSet::new(),
            complained: None,
            asked: Asked::Nothing,
            ahead_at: None,
            telling: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn admit(&mut self, key: VmKey, pending: V::Pending) {
        let inflow = if V::has_source(&pending) { Inflow::Away { again: false } } else { Inflow::None };
        let slot = Slot {
            stage: Stage::Waiting(Box::new(pending)),
            cancelled: false,
            mail: Mail::default(),
            inflow,
            woken: None,
            memory_kib: 0,
            coming_kib: 0,
            ticket: None,
            came: None,
            stuck: None,
        };
        self.slots.insert(key, slot);
        self.scheduler.add(key, self.now);
    }

    /// What this thread, a runner, does next.
    pub(super) fn next(&mut self, thread: V::Thread) -> Next<V> {
        if let Some(turn) = self.next_turn(thread) {
            let no_one_listens = self.waiting == 0;
            return Next::Turn { turn, others: self.has_turns() && !no_one_listens, no_one_listens };
        }
        self.waiting += 1;
        Next::Wait { short: self.room.is_short() }
    }

    /// The next VM to run, for this thread.
    pub(super) fn next_turn(&mut self, thread: V::Thread) -> Option<Turn<V>> {
        if let Some((key, used)) = self.ready.pop_front() {
            return self.begin_turn(key, None, used, thread);
        }
        let now = self.now;
        for key in self.scheduler.due(now) {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.woken = Some(now);
            }
        }
        loop {
            // No one gets a turn to take more before others have left; but who ends takes nothing, and gives what it has.
            let over = self.room.is_over() && self.room.has_exit;
            let leaver = self.leaver.filter(|_| self.room.wants_leavers() && self.room.has_exit);
            let may = |key: VmKey| (!over && leaver != Some(key)) || self.slots.get(&key).is_none_or(|s| s.ends(now));
            let key = self.scheduler.pick_of(now, may)?;
            let Some(slot) = self.slots.get_mut(&key) else {
                self.scheduler.remove(key, Duration::ZERO, now);
                continue;
            };
            if let Stage::Leaving { wanted } = &mut slot.stage {
                *wanted = true;
                self.scheduler.idle(key, None, Duration::ZERO, now);
                continue;
            }
            match slot.wish(now) {
                Some(wish) if !self.room.ask(wish) => self.wait_for_memory(key, wish, Duration::ZERO),
                wish => return self.begin_turn(key, wish, Duration::ZERO, thread),
            }
        }
    }

    fn begin_turn(&mut self, key: VmKey, wish: Option<Wish>, used: Duration, thread: V::Thread) -> Option<Turn<V>> {
        if let Some(wish) = wish {
            self.set_memory(key, wish.kib());
        }
        let slot = self.slots.get_mut(&key)?;
        slot.stop_waiting(&mut self.room);
        // What failed for other reasons than for want of space may have passed.
        if slot.stuck == Some(0) {
            self.unstick(key);
        }
        let slot = self.slots.get_mut(&key)?;
        let stage = std::mem::replace(&mut slot.stage, Stage::Running(thread));
        self.counts.turns += 1;
        let slice = if self.room.is_over() { SLICE_WHEN_OVER } else { SLICE };
        Some(Turn { key, stage, woken: slot.woken.take(), cancelled: slot.cancelled, slice, used })
    }

    /// A VM, or a run that is to have one, goes to the end of the queue for memory. It `used` its CPU for so long.
    pub(super) fn wait_for_memory(&mut self, key: VmKey, wish: Wish, used: Duration) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let until = slot.deadline();
        slot.ticket = Some(self.room.queue(key, wish));
        self.scheduler.idle(key, until, used, self.now);
        // It has nothing to give, and is in the way of those that have.
        self.scheduler.swapped(key);
    }

    /// Notes what a VM takes of memory. Whether that is more than before.
    pub(super) fn set_memory(&mut self, key: VmKey, kib: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&key) else { return false };
        let before = std::mem::replace(&mut slot.memory_kib, kib);
        self.room.charge(key, before, kib);
        self.let_in();
        kib > before
    }

    /// A VM leaves its hardware: what it took is still counted, until what this gives is dropped.
    pub(super) fn leave_hardware(&mut self, key: VmKey) -> Option<Charge> {
        let going = self.slots.get(&key).map(|slot| self.room.going(slot.memory_kib));
        self.set_memory(key, 0);
        going
    }

    /// A VM stopped; what it takes was measured, or not. Whether it has to wait until there is memory.
    pub(super) fn note_memory(&mut self, key: VmKey, kib: Option<u64>) -> bool {
        let grew = kib.is_some_and(|kib| self.set_memory(key, kib));
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.came.get_or_insert(self.now);
        }
        grew && self.room.must_pause(key)
    }

    /// Wakes as many of those that wait for memory as there is room for, in order.
    pub(super) fn let_in(&mut self) {
        while let Some((key, wish)) = self.room.let_in() {
            let Some(slot) = self.slots.get_mut(&key) else {
                self.room.came(wish.kib());
                continue;
            };
            slot.ticket = None;
            slot.coming_kib = wish.kib();
            if wish != Wish::GoOn {
                self.room.charge(key, slot.memory_kib, wish.kib());
                slot.memory_kib = wish.kib();
            }
            self.scheduler.wake(key, self.now);
        }
    }

    /// What there is to ask the keeper for.
    pub(super) fn asks(&self) -> Asked {
        match &self.room {
            room if !room.is_short() => Asked::Nothing,
            room if room.kept_too_much() || (room.has_exit && room.wants_leavers()) => Asked::Room,
            _ => Asked::RoomAhead,
        }
    }

    /// The time to set the clock to, where it has to be set. One that is earlier than need be is left: it costs a look, as much
    /// as to set it each time that a VM is woken before its time.
    pub(super) fn next_clock(&mut self) -> Option<Instant> {
        let next = self.scheduler.next_timer()?;
        if self.clock_set.is_some_and(|set| self.now < set && set <= next) {
            return None;
        }
        self.clock_set = Some(next);
        Some(next)
    }

    /// A VM can leave memory, or none can: there is no room on disk for it.
    pub(super) fn set_exit(&mut self, has_exit: bool) {
        self.room.has_exit = has_exit;
        self.let_in();
    }

    /// A VM could not be written to disk, where it needs so many bytes in one piece. It is not tried again before they are there.
    pub(super) fn stick(&mut self, key: VmKey, needed: u64) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.stuck = Some(needed);
            self.stuck.insert((needed, key));
        }
    }

    fn unstick(&mut self, key: VmKey) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Some(needed) = slot.stuck.take() {
            self.stuck.remove(&(needed, key));
            // One that waits for memory is in the way of others.
            if slot.ticket.is_none() {
                self.scheduler.stays(key);
            }
        }
    }

    /// Space on disk came free: now there are so many bytes in one piece.
    pub(super) fn space_came(&mut self, bytes: u64) {
        while let Some((_, key)) = self.stuck.first().copied().filter(|(needed, _)| *needed <= bytes) {
            self.unstick(key);
        }
        self.set_exit(true);
    }

    /// A VM idles.
    pub(super) fn idle(&mut self, key: VmKey, until: Option<Instant>, used: Duration) {
        self.scheduler.idle(key, until, used, self.now);
        if self.slots.get(&key).is_some_and(|slot| slot.stuck.is_some()) {
            // It can't go, and is in the way of those that can.
            self.scheduler.swapped(key);
        }
    }

    /// Wakes an idle VM. One that waits for memory goes on waiting, whatever came for it but its end.
    pub(super) fn wake(&mut self, key: VmKey) {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.ticket.is_some() && !slot.cancelled {
            slot.woken.get_or_insert(now);
        } else if self.scheduler.wake(key, now) {
            slot.woken = Some(now);
        }
    }

    /// A maker is done with a VM, after it `used` so much CPU time: its turn goes on. No one else has a turn for it before, and
    /// it can't be made to leave.
    pub(super) fn go_on(&mut self, key: VmKey, resident: Box<V::Resident>, used: Duration) {
        self.put_back(key, resident);
        self.ready.push_back((key, used));
    }

    /// Whether there is something to do for a runner.
    fn has_turns(&self) -> bool {
        !self.ready.is_empty() || self.scheduler.has_waiting()
    }

    pub(super) fn put_back(&mut self, key: VmKey, resident: Box<V::Resident>) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.stage = Stage::Here(resident);
        }
    }

    /// A run is over. Gives its input, which is to be closed.
    #[must_use]
    pub(super) fn forget(&mut self, key: VmKey, used: Duration) -> Option<Source> {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.stop_waiting(&mut self.room);
        }
        self.set_memory(key, 0);
        self.unstick(key);
        let slot = self.slots.remove(&key);
        self.scheduler.remove(key, used, self.now);
        slot?.inflow.into_source()
    }

    /// Takes the input of a run, for a maker to read.
    pub(super) fn take_source(&mut self, key: VmKey) -> Option<Source> {
        self.slots.get_mut(&key)?.inflow.take()
    }

    /// Gives it back (see [`Inflow::give`]); the source itself where its run is over.
    pub(super) fn give_source(&mut self, key: VmKey, source: Source, waits: bool) -> Result<bool, Box<Source>> {
        match self.slots.get_mut(&key) {
            Some(slot) => Ok(slot.inflow.give(source, waits)),
            None => Err(Box::new(source)),
        }
    }

    /// No more input comes from it.
    pub(super) fn end_source(&mut self, key: VmKey) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.inflow = Inflow::None;
        }
    }

    /// A run is to end.
    pub(super) fn cancel(&mut self, key: VmKey) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.cancelled = true;
            slot.interrupt();
            self.wake(key);
        }
    }

    /// Takes what came for a run, and says whether it is cancelled.
    pub(super) fn collect(&mut self, key: VmKey) -> Option<(Mail, bool)> {
        let slot = self.slots.get_mut(&key)?;
        Some((std::mem::take(&mut slot.mail), slot.cancelled))
    }

    /// What VMs may take of memory.
    pub(super) fn set_budget(&mut self, kib: u64) {
        self.room.budget_kib = kib;
        self.let_in();
    }

    /// Puts something into a run's mail, and wakes its VM.
    pub(super) fn post(&mut self, key: VmKey, put: impl FnOnce(&mut Mail)) {
        if let Some(slot) = self.slots.get_mut(&key) {
            put(&mut slot.mail);
            self.wake(key);
        }
    }

    pub(super) fn status(&mut self, swap_bytes: u64) -> Status {
        self.telling = false;
        // One that was woken is asleep until its turn, and counts as what waits for it.
        let idles = |key: &VmKey| matches!(self.scheduler.state(*key), Some(schedule::State::Idle { .. }));
        let asleep = |(key, slot): &(&VmKey, &Slot<V>)| {
            matches!(slot.stage, Stage::Asleep(_)) && slot.ticket.is_none() && idles(key)
        };
        let asleep = self.slots.iter().filter(asleep).count() as u32;
        let waiting = self.slots.iter().filter(|(key, slot)| slot.ticket.is_some() && idles(key)).count() as u32;
        Status {
            runnable: self.scheduler.runnable() as u32 + waiting,
            running: self.scheduler.running() as u32,
            idle: (self.scheduler.idling() as u32).saturating_sub(asleep + waiting),
            swapped: asleep,
            memory_kib: self.room.taken_kib(),
            swap_bytes,
            counts: self.counts.clone(),
        }
    }
}

impl<V: Vms> Slot<V> {
    /// What its run wants of memory for a turn; nothing if it has it, or ends without.
    fn wish(&self, now: Instant) -> Option<Wish> {
        match &self.stage {
            _ if self.cancelled || self.coming_kib > 0 => None,
            Stage::Waiting(_) => Some(Wish::Start(OVERHEAD_KIB)),
            Stage::Asleep(sleeper) if V::deadline_asleep(sleeper).is_none_or(|deadline| now < deadline) => {
                Some(Wish::Return(V::memory_kib(sleeper)))
            }
            _ => None,
        }
    }

    /// When its run ends in any case.
    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Here(resident) => V::deadline_here(resident),
            Stage::Asleep(sleeper) => V::deadline_asleep(sleeper),
            _ => None,
        }
    }

    /// Whether all that its run does in a turn is to end.
    fn ends(&self, now: Instant) -> bool {
        self.cancelled || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// It waits for memory no more, and is on its way no more.
    fn stop_waiting(&mut self, room: &mut Room) {
        self.ticket.take().into_iter().for_each(|ticket| room.leave_queue(ticket));
        room.came(std::mem::take(&mut self.coming_kib));
    }

    /// Whether its VM may be put to disk, once no runner has it: it does not wait for memory itself.
    pub(super) fn may_leave(&self) -> bool {
        matches!(self.stage, Stage::Here(_) | Stage::Running(_)) && self.stuck.is_none() && self.ticket.is_none()
    }

    /// Whether it was in memory for as long as one stays there at the least.
    pub(super) fn stayed(&self, now: Instant) -> bool {
        self.came.is_some_and(|came| came + stay(self.memory_kib) <= now)
    }

    /// What its VM takes of memory.
    pub(super) fn memory_kib(&self) -> u64 {
        self.memory_kib
    }

    /// Whether something came for its VM since a runner last looked.
    pub(super) fn has_news(&self) -> bool {
        self.cancelled || !self.mail.is_empty()
    }

    /// Whether more input is to be read for its VM, which has so many bytes at its door.
    pub(super) fn wants_input(&mut self, held: usize) -> bool {
        self.inflow.is_wanted(held + self.mail.bytes())
    }

    /// Interrupts its VM if it runs.
    pub(super) fn interrupt(&self) {
        if let Stage::Running(thread) = self.stage {
            V::kick(thread);
        }
    }
}

#[cfg(test)]
mod model;

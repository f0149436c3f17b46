//! One turn of a VM: from the scheduler's pick to what becomes of it afterwards.

use super::{
    Kernel, Pending, Resident, Runner, Work,
    input::UNREAD_BYTES,
    maker::Beginning,
    room::{OVERHEAD_KIB, Wish},
    state::{Slot, Stage, State, Turn},
    vms::Vms,
};
use crate::{
    gateway::{Feed, Verdict},
    kvm::cpu_time,
    schedule::VmKey,
    vm::{Assignment, Hardware, Stop, Vm},
    worker::{
        keeper::Chore,
        message::{Input, Report, RunId},
        shelf::Shelf,
    },
};
use denali_protocol::job::{Outcome, Usage};
use std::{
    sync::MutexGuard,
    time::{Duration, Instant},
};

/// CPU time within which a VM's memory is not measured again: it can touch some fifty pages.
const UNMEASURED_US: u64 = 250;

/// Pages of its own, in KiB, that hardware has after it was put back, at the most.
pub(super) const KEPT_KIB: u64 = 2 << 10;

impl Kernel {
    /// Gives a VM its turn: a slice, or less. One that has to be made, or brought back, a maker gets.
    pub(super) fn give_turn(&self, turn: Turn, runner: &mut Runner) {
        let Turn { key, stage, woken, cancelled, slice, used } = turn;
        let begun = cpu_time();
        let used = || used + cpu_time().saturating_sub(begun);
        let entered = match stage {
            Stage::Here(resident) => Ok(resident),
            Stage::Waiting(pending) if !cancelled => self.start_at_once(pending, runner).map_err(Stage::Waiting),
            stage => Err(stage),
        };
        let mut resident = match entered {
            Ok(resident) => resident,
            Err(stage) => {
                return self.bench.give(Work::Enter(Turn { key, stage, woken, cancelled, slice, used: used() }));
            }
        };
        self.collect_mail(key, &mut resident.vm);
        if let Some(woken) = woken {
            self.state().counts.wake.note(woken.elapsed());
        }
        loop {
            let stop = resident.vm.run(&runner.alarm, slice, &mut runner.frame);
            match self.take_stop(key, stop, resident, runner, &used) {
                Some(again) => resident = again,
                None => break,
            }
        }
        // It would interrupt what this thread does next.
        runner.alarm.set(Duration::MAX);
        self.reporter.flush();
    }

    /// Starts a run in hardware that is made; gives it back where there is none, or where more is needed than that.
    fn start_at_once(&self, mut pending: Box<Pending>, runner: &mut Runner) -> Result<Box<Resident>, Box<Pending>> {
        let begun = Instant::now();
        let start = &mut pending.start;
        let (digest, limits, reimage, run) = (start.bundle, start.limits, start.reimage, start.run);
        let input_bytes = match &start.input {
            Input::Bytes(bytes) => bytes.len() as u64,
            Input::Messages => 0,
            Input::Descriptor => return Err(pending),
        };
        if Assignment::check(&start.arguments).is_err() {
            return Err(pending);
        }
        let Some(shelf) = self.images.find(digest, limits.memory_bytes) else { return Err(pending) };
        let Some(ready) = shelf.take_made(input_bytes, reimage) else { return Err(pending) };
        let Pending { start, bundle, came, .. } = *pending;
        self.spend(bundle);
        let feed = match start.input {
            Input::Bytes(bytes) => Feed::bytes_of(bytes),
            Input::Messages | Input::Descriptor => Feed::default(),
        };
        let job = self.assignment(run, start.arguments, limits, feed);
        let beginning = Beginning { run, shelf, reimage, begun, came };
        // Of hardware that was made nothing can fail but a mistake of ours.
        let resident = self.begin(beginning, job, ready, &mut runner.frame);
        Ok(Box::new(resident.unwrap_or_else(|error| panic!("a VM that was made can't be started: {error}"))))
    }

    /// Does what has to be done with a VM that stopped. Gives it back where it is to run on at once.
    fn take_stop(
        &self,
        key: VmKey,
        stop: Stop,
        mut resident: Box<Resident>,
        runner: &mut Runner,
        used: &dyn Fn() -> Duration,
    ) -> Option<Box<Resident>> {
        match stop {
            Stop::Slice => {
                let memory_kib = self.measure(&mut resident, true);
                let mut state = self.state();
                let wants_input = state.stop(key, resident, memory_kib, used());
                self.stopped(state, key, wants_input);
                None
            }
            Stop::Idle(until) => self.let_idle(key, until, resident, used),
            Stop::Checkpoint => self.hand_over(Work::Copy(key, resident, used())),
            Stop::NoCheckpoint => self.hand_over(Work::StartOver(key, resident, used())),
            Stop::Ended(outcome) => {
                self.end(key, outcome, *resident, runner, used());
                None
            }
        }
    }

    /// A maker has to go on with a VM.
    fn hand_over(&self, work: Work) -> Option<Box<Resident>> {
        self.bench.give(work);
        None
    }

    /// Puts an idle VM back, unless something came for it meanwhile.
    fn let_idle(
        &self,
        key: VmKey,
        until: Option<Instant>,
        mut resident: Box<Resident>,
        used: &dyn Fn() -> Duration,
    ) -> Option<Box<Resident>> {
        // Before it can wake another, whoever waits for its answer has that.
        self.reporter.flush();
        let memory_kib = self.measure(&mut resident, false);
        let mut state = self.state();
        match state.let_idle(key, resident, until, memory_kib, used()) {
            Ok(wants_input) => {
                self.set_clock(&mut state);
                self.stopped(state, key, wants_input);
                None
            }
            Err(mut resident) => {
                drop(state);
                self.collect_mail(key, &mut resident.vm);
                Some(resident)
            }
        }
    }

    /// A VM was put back: others hear of what that means for them.
    fn stopped(&self, state: MutexGuard<'_, State>, key: VmKey, wants_input: bool) {
        let short = state.room.is_short();
        self.tell(state);
        if wants_input {
            self.bench.give(Work::Feed(key));
        }
        if short {
            self.relieve();
        }
    }

    /// What a VM takes of memory, where anyone asks: at the end of a slice, and where it `must` not be, once it has computed
    /// for long enough to have touched much since the last time.
    fn measure(&self, resident: &mut Resident, must: bool) -> Option<u64> {
        let cpu_us = resident.vm.usage().cpu_us;
        let due = must || resident.measured_us.is_none_or(|before| cpu_us.saturating_sub(before) >= UNMEASURED_US);
        if !due || self.state().room.budget_kib == u64::MAX {
            return None;
        }
        resident.measured_us = Some(cpu_us);
        // Where the host does not tell, it counts as before.
        Some(OVERHEAD_KIB + resident.vm.measure_memory(&self.host.pagemap)?)
    }

    /// Something changed that the node wants to know.
    pub(super) fn tell(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.telling, true) {
            drop(state);
            self.keeper.give(Chore::Tell);
        }
    }

    fn collect_mail(&self, key: VmKey, vm: &mut Vm) {
        let Some((mail, cancelled)) = self.state().collect(key) else { return };
        for (bytes, end) in mail.pieces {
            vm.feed(bytes, end);
        }
        if cancelled {
            vm.doom(Verdict::Outcome(Outcome::Cancelled));
        } else if let Some(outcome) = mail.failed {
            vm.doom(Verdict::Outcome(outcome));
        } else if mail.overflowed || vm.input_left() > UNREAD_BYTES {
            let why = format!("more than {} KiB of input came that its VM has not read", UNREAD_BYTES >> 10);
            vm.doom(Verdict::Outcome(Outcome::Lost(why)));
        }
    }

    /// Reports a run's end, and puts its hardware back for the next one.
    fn end(&self, key: VmKey, outcome: Outcome, mut resident: Resident, runner: &mut Runner, used: Duration) {
        let (outcome, usage) = resident.vm.finish(&self.host, outcome, &mut runner.frame);
        let going = {
            let mut state = self.state();
            state.counts.ended += 1;
            state.counts.exits.add(&usage.exits);
            state.leave_hardware(key)
        };
        self.forget(key, used);
        // What ended badly may have left the virtual CPU in a state that no guest can reach by itself.
        let sound = !matches!(outcome, Outcome::Fault(_) | Outcome::Lost(_));
        // Reported before its hardware is put back or destroyed: nothing depends on that.
        let kib = OVERHEAD_KIB + usage.memory_peak_kib;
        self.report_end(RunId(key.0), outcome, usage);
        let Resident { vm, shelf, reimage, .. } = resident;
        if vm.has_no_job() {
            shelf.untried();
        }
        let mut hardware = vm.into_hardware();
        if shelf.wants_pages() {
            shelf.learn(hardware.own_pages(&self.host.pagemap).unwrap_or_default());
        }
        match self.put_on_shelf(&shelf, hardware, kib, sound && reimage) {
            Some(hardware) => self.destroy([(hardware, going)]),
            None => drop(going),
        }
        let mut state = self.state();
        state.let_in();
        self.tell(state);
    }

    /// Puts hardware, whose VM took so many KiB and is not counted there any more, back to its start for another run of the
    /// same bundle, if it may be used again and there is memory for it. Gives it back where it is to be destroyed.
    pub(super) fn put_on_shelf(
        &self,
        shelf: &Shelf,
        mut hardware: Hardware,
        memory_kib: u64,
        again: bool,
    ) -> Option<Hardware> {
        let kib = memory_kib.min(OVERHEAD_KIB + KEPT_KIB);
        if again && self.state().room.may_keep(kib) && hardware.reset(&self.host.pagemap).is_ok() {
            shelf.keep(hardware, kib)
        } else {
            Some(hardware)
        }
    }

    pub(super) fn report_end(&self, run: RunId, outcome: Outcome, usage: Usage) {
        let _ = self.reporter.send(&Report::Ended { run, outcome, usage });
        self.reporter.flush();
    }
}

impl<V: Vms> State<V> {
    /// Puts a VM back that wants to run on: in its turn, or once there is memory. Whether more input is to be read for it.
    pub(super) fn stop(
        &mut self,
        key: VmKey,
        resident: Box<V::Resident>,
        memory_kib: Option<u64>,
        used: Duration,
    ) -> bool {
        let pauses = self.note_memory(key, memory_kib);
        let wants_input = self.wants_input(key, &resident);
        self.put_back(key, resident);
        if pauses {
            self.wait_for_memory(key, Wish::GoOn, used);
        } else {
            self.scheduler.yielded(key, used, self.now);
        }
        wants_input
    }

    /// Puts a VM back that idles, and says whether more input is to be read for it; gives it back where it is to run on at once,
    /// for something came for it meanwhile.
    pub(super) fn let_idle(
        &mut self,
        key: VmKey,
        resident: Box<V::Resident>,
        until: Option<Instant>,
        memory_kib: Option<u64>,
        used: Duration,
    ) -> Result<bool, Box<V::Resident>> {
        if self.slots.get(&key).is_some_and(Slot::has_news) {
            // News that never end must not keep others from their turns.
            let others = self.scheduler.has_waiting();
            return if others { Ok(self.stop(key, resident, memory_kib, used)) } else { Err(resident) };
        }
        let wants_input = self.wants_input(key, &resident);
        let pauses = self.note_memory(key, memory_kib);
        self.put_back(key, resident);
        if pauses {
            self.wait_for_memory(key, Wish::GoOn, used);
        } else {
            self.idle(key, until, used);
        }
        self.room.rests(key);
        self.let_in();
        Ok(wants_input)
    }

    /// Whether more input is to be read for a VM.
    fn wants_input(&mut self, key: VmKey, resident: &V::Resident) -> bool {
        self.slots.get_mut(&key).is_some_and(|slot| slot.wants_input(V::input_left(resident)))
    }
}

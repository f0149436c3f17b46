//! One turn of a VM: from the scheduler's pick to what becomes of it afterwards.

use super::{
    Kernel, Pending, ReportSink, Resident, Runner,
    room::{OVERHEAD_KIB, Wish},
    state::{Stage, State, Turn, UNREAD_BYTES},
};
use crate::{
    gateway::{Feed, Verdict},
    kvm::cpu_time,
    schedule::VmKey,
    vm::{Assignment, Hardware, HardwareError, Stop, Vm},
    worker::{
        keeper::Chore,
        message::{Input, Report, RunId},
        shelf::{Ready, Shelf},
    },
};
use denali_protocol::{
    job::{Outcome, Usage, VmId},
    receipt::StartPath,
};
use std::{
    sync::{MutexGuard, atomic::Ordering},
    time::{Duration, Instant},
};

/// CPU time within which a VM's memory is not measured again: it can touch some fifty pages.
const UNMEASURED_US: u64 = 250;

/// Pages of its own, in KiB, that hardware has after it was put back, at the most.
const KEPT_KIB: u64 = 2 << 10;

impl Kernel {
    /// Gives a VM its turn: a slice, or less.
    pub(super) fn give_turn(&self, turn: Turn, runner: &mut Runner) {
        let Turn { key, stage, woken, cancelled, slice } = turn;
        let begun = cpu_time();
        let used = || cpu_time().saturating_sub(begun);
        let mut resident = match self.enter(key, stage, cancelled, runner) {
            Ok(resident) => resident,
            Err(end) => {
                self.state().forget(key, used());
                let (outcome, usage) = *end;
                self.report_end(RunId(key.0), outcome, usage);
                return self.tell(self.state());
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

    /// The VM of a run, made or brought back if need be. An error is how the run ended.
    fn enter(
        &self,
        key: VmKey,
        stage: Stage,
        cancelled: bool,
        runner: &mut Runner,
    ) -> Result<Box<Resident>, Box<(Outcome, Usage)>> {
        let end = |outcome, usage| Box::new((outcome, usage));
        match stage {
            Stage::Here(resident) => Ok(resident),
            Stage::Waiting(_) if cancelled => Err(end(Outcome::Cancelled, Usage::default())),
            Stage::Waiting(pending) => {
                self.start(*pending, runner).map(Box::new).map_err(|outcome| end(outcome, Usage::default()))
            }
            Stage::Asleep(sleeper) => {
                self.unwatch(key, sleeper.vm.input());
                let over = if cancelled { Some(Outcome::Cancelled) } else { sleeper.vm.over() };
                if let Some(outcome) = over {
                    return Err(end(outcome, self.let_go(*sleeper)));
                }
                let usage = sleeper.vm.usage();
                self.bring_back(*sleeper).map(Box::new).map_err(|error| {
                    self.state().counts.swap_failures += 1;
                    end(Outcome::Lost(error.to_string()), usage)
                })
            }
            // No run is given to two.
            Stage::Running(_) | Stage::Leaving { .. } => {
                Err(end(Outcome::Lost("its VM is elsewhere".to_owned()), Usage::default()))
            }
        }
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
                self.put_back(self.state(), key, resident, memory_kib, used());
                None
            }
            Stop::Idle(until) => self.let_idle(key, until, resident, used),
            Stop::Checkpoint => {
                match resident.vm.capture(&self.host) {
                    Ok(template) => {
                        self.state().counts.copies += 1;
                        self.destroy(resident.shelf.captured(template));
                    }
                    // The host has no room for a copy: jobs start without.
                    Err(_) => resident.shelf.never(),
                }
                resident.vm.give(&mut runner.frame);
                Some(resident)
            }
            Stop::NoCheckpoint => {
                resident.shelf.never();
                match resident.shelf.cold(&self.host) {
                    Ok(hardware) => {
                        self.destroy([resident.vm.start_over(hardware)]);
                        resident.vm.give(&mut runner.frame);
                    }
                    Err(error) => resident.vm.doom(Verdict::Outcome(Outcome::Lost(error.to_string()))),
                }
                Some(resident)
            }
            Stop::Ended(outcome) => {
                self.end(key, outcome, *resident, runner, used());
                None
            }
        }
    }

    /// Puts a VM back that wants to run on: in its turn, or once there is memory.
    fn put_back(
        &self,
        mut state: MutexGuard<'_, State>,
        key: VmKey,
        resident: Box<Resident>,
        memory_kib: Option<u64>,
        used: Duration,
    ) {
        let pauses = state.note_memory(key, memory_kib);
        state.put_back(key, resident);
        if pauses {
            state.wait_for_memory(key, Wish::GoOn, used);
        } else {
            state.scheduler.yielded(key, used, Instant::now());
        }
        let short = state.room.is_short();
        self.tell(state);
        if short {
            self.relieve();
        }
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
        let has_news = state.slots.get(&key)?.has_news();
        if has_news && state.scheduler.has_waiting() {
            // News that never end must not keep others from their turns.
            self.put_back(state, key, resident, memory_kib, used());
            return None;
        }
        if has_news {
            drop(state);
            self.collect_mail(key, &mut resident.vm);
            return Some(resident);
        }
        if let Some(input) = resident.vm.awaited_input()
            && let Err(error) = self.watch(key, input, state.slots.get_mut(&key)?)
        {
            let lost = Outcome::Lost(format!("the host can't tell when there is input for the VM: {error}"));
            resident.vm.doom(Verdict::Outcome(lost));
            return Some(resident);
        }
        if state.note_memory(key, memory_kib) {
            state.put_back(key, resident);
            state.wait_for_memory(key, Wish::GoOn, used());
        } else {
            state.put_back(key, resident);
            state.idle(key, until, used());
        }
        state.room.rests(key);
        state.let_in();
        self.set_clock(&mut state);
        let short = state.room.is_short();
        self.tell(state);
        if short {
            self.relieve();
        }
        None
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
        let (mail, cancelled) = {
            let mut state = self.state();
            let Some(slot) = state.slots.get_mut(&key) else { return };
            (std::mem::take(&mut slot.mail), slot.cancelled)
        };
        for (bytes, end) in mail.pieces {
            vm.feed(bytes, end);
        }
        if cancelled {
            vm.doom(Verdict::Outcome(Outcome::Cancelled));
        } else if mail.overflowed || vm.input_left() > UNREAD_BYTES {
            let why = format!("more than {} KiB of input came that its VM has not read", UNREAD_BYTES >> 10);
            vm.doom(Verdict::Outcome(Outcome::Lost(why)));
        }
    }

    /// Starts a run in a VM of its own. An error is how it ended.
    fn start(&self, pending: Pending, runner: &mut Runner) -> Result<Resident, Outcome> {
        let begun = Instant::now();
        let Pending { start, bundle, input, came } = pending;
        let lost = |error: &dyn std::fmt::Display| Outcome::Lost(error.to_string());
        let (shelf, useless) = self.images.get(start.bundle, start.limits.memory_bytes, bundle).map_err(|error| {
            if error.blames_bundle() { Outcome::Unstartable(error.to_string()) } else { lost(&error) }
        })?;
        self.destroy(useless);
        let input = match (start.input, input) {
            (_, Some(input)) => Feed::of(input).map_err(|error| lost(&error))?,
            (Input::Bytes(bytes), None) => Feed::bytes_of(bytes),
            (Input::Messages | Input::Descriptor, None) => Feed::messages(),
        };
        let job = Assignment {
            vm: VmId(self.next_vm.fetch_add(1, Ordering::Relaxed)),
            arguments: start.arguments,
            limits: start.limits,
            input,
            sink: Box::new(ReportSink { run: start.run, reporter: self.reporter.clone() }),
        };
        job.check().map_err(|error| Outcome::Unstartable(error.to_string()))?;
        let ready = shelf.take(&self.host, job.input.bytes(), start.reimage).map_err(|error| match error {
            HardwareError::Host(error) => Outcome::Unstartable(error.to_string()),
            error => lost(&error),
        })?;
        if ready.path == StartPath::New {
            self.keeper.stock(&shelf);
        }
        let Ready { hardware, path, given, made_before } = ready;
        let vm = Vm::start(&self.host, hardware, job, path, given, begun, &mut runner.frame);
        let vm = vm.map_err(|error| lost(&error))?;
        {
            let mut state = self.state();
            match path {
                StartPath::New => state.counts.new += 1,
                StartPath::Reimaged => state.counts.reimaged += 1,
            }
            state.counts.ready += u64::from(made_before && path == StartPath::New);
            state.counts.start.note(came.elapsed());
        }
        let _ = self.reporter.send(&Report::Started { run: start.run, vm: vm.id(), path: vm.path() });
        Ok(Resident::of(vm, shelf, start.reimage))
    }

    /// Reports a run's end, and puts its hardware back for the next one.
    fn end(&self, key: VmKey, outcome: Outcome, mut resident: Resident, runner: &mut Runner, used: Duration) {
        let (outcome, usage) = resident.vm.finish(&self.host, outcome, &mut runner.frame);
        self.unwatch(key, resident.vm.input());
        let going = {
            let mut state = self.state();
            let going = state.leave_hardware(key);
            state.forget(key, used);
            state.counts.ended += 1;
            state.counts.exits.add(&usage.exits);
            going
        };
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

    fn report_end(&self, run: RunId, outcome: Outcome, usage: Usage) {
        let _ = self.reporter.send(&Report::Ended { run, outcome, usage });
        self.reporter.flush();
    }
}

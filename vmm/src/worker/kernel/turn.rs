//! One turn of a VM: from the scheduler's pick to what becomes of it afterwards.

use super::{
    Kernel, Pending, ReportSink, Resident, Runner,
    state::{OVERHEAD_KIB, Slot, Stage, Turn},
};
use crate::{
    gateway::{Feed, Verdict},
    kvm::cpu_time,
    schedule::{SLICE, VmKey},
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
use rustix::event::epoll;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

impl Kernel {
    /// Gives a VM its turn: a slice, or less.
    pub(super) fn give_turn(&self, turn: Turn, runner: &mut Runner) {
        let Turn { key, stage, woken, cancelled } = turn;
        let begun = cpu_time();
        let used = || cpu_time().saturating_sub(begun);
        let mut resident = match self.enter(stage, cancelled, runner) {
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
            let stop = resident.vm.run(&runner.alarm, SLICE, &mut runner.frame);
            match self.take_stop(key, stop, resident, runner, &used) {
                Some(again) => resident = again,
                None => break,
            }
        }
        self.reporter.flush();
    }

    /// The VM of a run, made or brought back if need be. An error is how the run ended.
    fn enter(
        &self,
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
            Stage::Asleep(sleeper) if cancelled => Err(end(Outcome::Cancelled, self.let_go(*sleeper))),
            Stage::Asleep(sleeper) => {
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
                let memory_kib = self.measure(&mut resident);
                let mut state = self.state();
                self.note_memory(&mut state, key, memory_kib);
                state.scheduler.yielded(key, used(), Instant::now());
                state.put_back(key, resident);
                let short = state.is_short();
                self.tell(state);
                if short {
                    self.relieve();
                }
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
        let memory_kib = self.measure(&mut resident);
        let mut state = self.state();
        let slot = state.slots.get_mut(&key)?;
        if slot.has_news() && state.scheduler.has_waiting() {
            // News that never end must not keep others from their turns.
            self.note_memory(&mut state, key, memory_kib);
            state.scheduler.yielded(key, used(), Instant::now());
            state.put_back(key, resident);
            self.tell(state);
            return None;
        }
        let slot = state.slots.get_mut(&key)?;
        if slot.has_news() {
            drop(state);
            self.collect_mail(key, &mut resident.vm);
            return Some(resident);
        }
        if let Some(input) = resident.vm.awaited_input() {
            self.watch(key, input, slot);
        }
        self.note_memory(&mut state, key, memory_kib);
        state.scheduler.idle(key, until, used(), Instant::now());
        state.put_back(key, resident);
        // Whoever waits may not know of a time that is earlier than the one it watches.
        let earlier = until.is_some_and(|until| state.watched.is_none_or(|watched| until < watched));
        let someone_waits = state.waiting > 0;
        let short = state.is_short();
        self.tell(state);
        if earlier && someone_waits {
            self.ring();
        }
        if short {
            self.relieve();
        }
        None
    }

    /// What a VM takes of memory, where anyone asks.
    fn measure(&self, resident: &mut Resident) -> Option<u64> {
        let bounded = self.state().budget_kib != u64::MAX;
        bounded.then(|| OVERHEAD_KIB + resident.vm.measure_memory(&self.host.pagemap))
    }

    fn note_memory(&self, state: &mut super::State, key: VmKey, memory_kib: Option<u64>) {
        if let Some(kib) = memory_kib {
            state.set_memory(key, kib);
        }
    }

    /// Something changed that the node wants to know.
    pub(super) fn tell(&self, mut state: std::sync::MutexGuard<'_, super::State>) {
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
        for (bytes, end) in mail {
            vm.feed(bytes, end);
        }
        if cancelled {
            vm.doom(Verdict::Outcome(Outcome::Cancelled));
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
        Ok(Resident { vm, shelf, reimage: start.reimage })
    }

    /// Reports a run's end, and puts its hardware back for the next one.
    fn end(&self, key: VmKey, outcome: Outcome, mut resident: Resident, runner: &mut Runner, used: Duration) {
        let (outcome, usage) = resident.vm.finish(&self.host, outcome, &mut runner.frame);
        {
            let mut state = self.state();
            if let (Some(Slot { watched: true, .. }), Some(input)) =
                (state.slots.get(&key), resident.vm.awaited_input())
            {
                // Others may hold the same pipe: closing this descriptor would not end it.
                let _ = epoll::delete(&self.events, input);
            }
            state.forget(key, used);
            state.counts.ended += 1;
            state.counts.exits.add(&usage.exits);
        }
        // What ended badly may have left the virtual CPU in a state that no guest can reach by itself.
        let sound = !matches!(outcome, Outcome::Fault(_) | Outcome::Lost(_));
        // Reported before its hardware is put back or destroyed: nothing depends on that.
        self.report_end(RunId(key.0), outcome, usage);
        let Resident { vm, shelf, reimage } = resident;
        if vm.has_no_job() {
            shelf.untried();
        }
        let mut hardware = vm.into_hardware();
        if shelf.wants_pages() {
            shelf.learn(hardware.own_pages(&self.host.pagemap).unwrap_or_default());
        }
        self.destroy(self.put_on_shelf(&shelf, hardware, sound && reimage));
        self.tell(self.state());
    }

    /// Puts hardware back to its start for another run of the same bundle, if it may be used again. Gives it back where it is
    /// to be destroyed.
    pub(super) fn put_on_shelf(&self, shelf: &Shelf, mut hardware: Hardware, again: bool) -> Option<Hardware> {
        if again && hardware.reset(&self.host.pagemap).is_ok() {
            let short = self.state().is_tight();
            shelf.keep(hardware, short)
        } else {
            Some(hardware)
        }
    }

    fn report_end(&self, run: RunId, outcome: Outcome, usage: Usage) {
        let _ = self.reporter.send(&Report::Ended { run, outcome, usage });
        self.reporter.flush();
    }
}

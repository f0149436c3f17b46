//! Makers: threads that do for runners what takes system calls that a thread with a guest must not have. They make the VM
//! of a run or bring it back from disk, take copies at a CHECKPOINT, read input, and close what is not needed any more.
//!
//! A VM that is with a maker has its turn meanwhile: no runner has it, and it is charged for the time that this takes.

use super::{
    Kernel, Pending, ReportSink, Resident,
    events::INPUTS,
    input::Mail,
    state::{Sleeper, Stage, Turn},
};
use crate::{
    gateway::{Feed, Verdict},
    kvm::cpu_time,
    schedule::VmKey,
    vm::{Assignment, Given, HardwareError, Vm},
    worker::{
        message::{Input, Report, RunId},
        shelf::{Ready, Shelf},
        source::{Piece, Source},
    },
};
use denali_protocol::{
    job::{Outcome, Usage, VmId},
    receipt::StartPath,
};
use rustix::event::epoll;
use std::{
    collections::VecDeque,
    fs::File,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

/// Bytes of input read for a run at a time.
const INPUT_READ: usize = 512 << 10;

/// What a runner can't do.
pub(super) enum Work {
    /// Make the VM whose turn it is, or bring it back.
    Enter(Turn),
    /// Take a copy of a VM at its CHECKPOINT, and give it its job. Its turn took so much CPU time.
    Copy(VmKey, Box<Resident>, Duration),
    /// Start a VM over that made no CHECKPOINT, with its job.
    StartOver(VmKey, Box<Resident>, Duration),
    /// Read input for a run.
    Feed(VmKey),
    /// VMs may sleep in this file, up to so many bytes of it.
    SwapInto(File, u64),
    /// Close the input of a run that is over.
    Close(Source),
}

/// Work that waits for a maker: at most a few things for each run.
#[derive(Default)]
pub(super) struct Bench {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    closed: bool,
}

impl Bench {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn give(&self, work: Work) {
        self.queue().work.push_back(work);
        self.filled.notify_one();
    }

    /// Ends the makers.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.filled.notify_all();
    }

    fn take(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(work) = queue.work.pop_front() {
                return Some(work);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Kernel {
    /// What a maker does.
    pub(super) fn make(&self) {
        let mut frame = Vec::new();
        while let Some(work) = self.bench.take() {
            let begun = cpu_time();
            let used = || cpu_time().saturating_sub(begun);
            match work {
                Work::Enter(turn) => self.make_enter(turn, &mut frame, &used),
                Work::Copy(key, mut resident, before) => {
                    match resident.vm.capture(&self.host) {
                        Ok(template) => {
                            self.state().counts.copies += 1;
                            self.destroy(resident.shelf.captured(template));
                        }
                        // The host has no room for a copy: jobs start without.
                        Err(_) => resident.shelf.never(),
                    }
                    self.give_job(key, resident, &mut frame, before + used());
                }
                Work::StartOver(key, mut resident, before) => {
                    resident.shelf.never();
                    match resident.shelf.cold(&self.host) {
                        Ok(hardware) => self.destroy([resident.vm.start_over(hardware)]),
                        Err(error) => resident.vm.doom(Verdict::Outcome(Outcome::Lost(error.to_string()))),
                    }
                    self.give_job(key, resident, &mut frame, before + used());
                }
                Work::Feed(key) => self.read_for(key),
                Work::SwapInto(file, bytes) => self.swap_into(file, bytes),
                Work::Close(source) => self.drop_source(source),
            }
        }
    }

    /// Gives a VM its job, which was withheld from it, and puts it back.
    fn give_job(&self, key: VmKey, mut resident: Box<Resident>, frame: &mut Vec<u8>, used: Duration) {
        resident.vm.give(frame);
        let source = self.state().take_source(key);
        if let Some(source) = source {
            self.supply(key, &mut resident.vm, source, frame);
        }
        self.made(key, resident, used);
    }

    fn make_enter(&self, turn: Turn, frame: &mut Vec<u8>, used: &dyn Fn() -> Duration) {
        let Turn { key, stage, woken, cancelled, used: before, .. } = turn;
        let used = || before + used();
        let lost = |outcome| Box::new((outcome, Usage::default()));
        let made = match stage {
            Stage::Waiting(_) if cancelled => Err(lost(Outcome::Cancelled)),
            Stage::Waiting(pending) => self.start(key, *pending, frame).map_err(lost),
            Stage::Asleep(sleeper) => self.wake_up(*sleeper, cancelled),
            // No run is given to two.
            Stage::Here(_) | Stage::Running(_) | Stage::Leaving { .. } => {
                Err(lost(Outcome::Lost("its VM is elsewhere".to_owned())))
            }
        };
        match made {
            Ok(resident) => {
                if let Some(woken) = woken {
                    self.state().counts.wake.note(woken.elapsed());
                }
                self.made(key, Box::new(resident), used());
            }
            Err(end) => {
                let (outcome, usage) = *end;
                self.forget(key, used());
                self.report_end(RunId(key.0), outcome, usage);
                self.tell(self.state());
                // Others may have waited for the CPU that was its.
                self.ring();
            }
        }
    }

    /// A VM is ready for a runner.
    fn made(&self, key: VmKey, resident: Box<Resident>, used: Duration) {
        self.state().go_on(key, resident, used);
        self.ring();
    }

    /// Brings a VM back from disk. An error is how it ended.
    fn wake_up(&self, sleeper: Sleeper, cancelled: bool) -> Result<Resident, Box<(Outcome, Usage)>> {
        let over = if cancelled { Some(Outcome::Cancelled) } else { sleeper.vm.over() };
        if let Some(outcome) = over {
            return Err(Box::new((outcome, self.let_go(sleeper))));
        }
        let usage = sleeper.vm.usage();
        self.bring_back(sleeper).map_err(|error| {
            self.state().counts.swap_failures += 1;
            Box::new((Outcome::Lost(error.to_string()), usage))
        })
    }

    /// Starts a run in a VM of its own. An error is how it ended.
    fn start(&self, key: VmKey, pending: Pending, frame: &mut Vec<u8>) -> Result<Resident, Outcome> {
        let begun = Instant::now();
        let lost = |error: &dyn std::fmt::Display| Outcome::Lost(error.to_string());
        let Pending { start, bundle, input, came } = pending;
        Assignment::check(&start.arguments).map_err(|error| Outcome::Unstartable(error.to_string()))?;
        let (shelf, useless) = self.images.get(start.bundle, start.limits.memory_bytes, bundle).map_err(|error| {
            if error.blames_bundle() { Outcome::Unstartable(error.to_string()) } else { lost(&error) }
        })?;
        self.destroy(useless);
        let source = input.map(Source::of).transpose().map_err(|error| lost(&error))?;
        let feed = match (start.input, &source) {
            (_, Some(source)) => Feed::of(source.bytes()),
            (Input::Bytes(bytes), None) => Feed::bytes_of(bytes),
            (Input::Messages | Input::Descriptor, None) => Feed::default(),
        };
        let job = self.assignment(start.run, start.arguments, start.limits, feed);
        let ready = shelf.take(&self.host, job.input.bytes(), start.reimage).map_err(|error| match error {
            HardwareError::Host(error) => Outcome::Unstartable(error.to_string()),
            error => lost(&error),
        })?;
        let beginning = Beginning { run: start.run, shelf, reimage: start.reimage, begun, came };
        let mut resident = self.begin(beginning, job, ready, frame).map_err(|error| lost(&error))?;
        match source {
            Some(source) if resident.vm.has_no_job() => self.give_source(key, source, true),
            Some(source) => self.supply(key, &mut resident.vm, source, frame),
            None => {}
        }
        Ok(resident)
    }

    /// A job, for a VM that has a name from now on.
    pub(super) fn assignment(
        &self,
        run: RunId,
        arguments: Vec<String>,
        limits: denali_protocol::job::Limits,
        input: Feed,
    ) -> Assignment {
        let vm = VmId(self.next_vm.fetch_add(1, Ordering::Relaxed));
        let sink = Box::new(ReportSink { run, reporter: self.reporter.clone() });
        Assignment { vm, arguments, limits, input, sink }
    }

    /// Starts a job in hardware, and tells the node.
    pub(super) fn begin(
        &self,
        beginning: Beginning,
        job: Assignment,
        ready: Ready,
        frame: &mut Vec<u8>,
    ) -> Result<Resident, HardwareError> {
        let Beginning { run, shelf, reimage, begun, came } = beginning;
        let Ready { hardware, path, given, made_before } = ready;
        if path == StartPath::New {
            self.keeper.stock(&shelf);
        }
        let vm = Vm::start(&self.host, hardware, job, path, given, begun, frame).inspect_err(|_| {
            if given == Given::NothingYet {
                shelf.untried();
            }
        })?;
        {
            let mut state = self.state();
            match path {
                StartPath::New => state.counts.new += 1,
                StartPath::Reimaged => state.counts.reimaged += 1,
            }
            state.counts.ready += u64::from(made_before && path == StartPath::New);
            state.counts.start.note(came.elapsed());
        }
        let _ = self.reporter.send(&Report::Started { run, vm: vm.id(), path: vm.path() });
        Ok(Resident::of(vm, shelf, reimage))
    }

    /// Puts as much input on the ring of a VM that was just given its job as there is room for, so that a job needs no exit to
    /// get it. The rest comes as the VM takes it.
    fn supply(&self, key: VmKey, vm: &mut Vm, mut source: Source, frame: &mut Vec<u8>) {
        loop {
            match source.read() {
                Ok(Piece::Bytes(bytes, last)) => {
                    let has_room = vm.supply(bytes, last, frame);
                    if last {
                        return self.close_source(key, source);
                    }
                    if !has_room {
                        return self.give_source(key, source, false);
                    }
                }
                Ok(Piece::NotYet) => return self.wait_for_input(key, source),
                Err(error) => {
                    vm.doom(Verdict::Outcome(unreadable(&error)));
                    return self.close_source(key, source);
                }
            }
        }
    }

    /// Reads more input for a run, and wakes its VM.
    fn read_for(&self, key: VmKey) {
        let Some(mut source) = self.state().take_source(key) else { return };
        let mut read = 0;
        loop {
            match source.read() {
                Ok(Piece::Bytes(bytes, last)) => {
                    read += bytes.len();
                    self.post(key, |mail| mail.push(bytes, last));
                    if last {
                        return self.close_source(key, source);
                    }
                    if read >= INPUT_READ {
                        return self.give_source(key, source, false);
                    }
                }
                // The VM asks again when it has taken most of this: input that comes faster than it reads waits outside.
                Ok(Piece::NotYet) if read > 0 => return self.give_source(key, source, false),
                Ok(Piece::NotYet) => return self.wait_for_input(key, source),
                Err(error) => {
                    self.post(key, |mail| mail.failed = Some(unreadable(&error)));
                    return self.close_source(key, source);
                }
            }
        }
    }

    fn post(&self, key: VmKey, put: impl FnOnce(&mut Mail)) {
        self.state().post(key, put);
        self.ring();
    }

    /// Has a runner hear of it, once, when there is input.
    fn wait_for_input(&self, key: VmKey, mut source: Source) {
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(INPUTS.wrapping_add(key.0));
        let watch = if source.watched { epoll::modify } else { epoll::add };
        match watch(&self.events, &source, data, once) {
            Ok(()) => {
                source.watched = true;
                self.give_source(key, source, true);
            }
            Err(error) => {
                self.post(key, |mail| mail.failed = Some(unreadable(&error.into())));
                self.close_source(key, source);
            }
        }
    }

    /// Gives an input back to its run. It `waits` for more to come, or for its VM to take what came.
    fn give_source(&self, key: VmKey, source: Source, waits: bool) {
        let given = self.state().give_source(key, source, waits);
        match given {
            Ok(false) => {}
            // Something came meanwhile.
            Ok(true) => self.bench.give(Work::Feed(key)),
            Err(source) => self.drop_source(*source),
        }
    }

    fn close_source(&self, key: VmKey, source: Source) {
        self.state().end_source(key);
        self.drop_source(source);
    }

    /// Closes an input. Others may hold the same pipe, so closing alone would not end its events.
    #[expect(clippy::needless_pass_by_value, reason = "it is closed")]
    fn drop_source(&self, source: Source) {
        if source.watched {
            // It is there, so this can't fail.
            let _ = epoll::delete(&self.events, &source);
        }
    }

    /// A run is over. Its input is closed by a maker.
    pub(super) fn forget(&self, key: VmKey, used: Duration) {
        let source = self.state().forget(key, used);
        if let Some(source) = source {
            self.bench.give(Work::Close(source));
        }
    }
}

/// What a run begins with, beside its job and its hardware.
pub(super) struct Beginning {
    pub(super) run: RunId,
    pub(super) shelf: Arc<Shelf>,
    pub(super) reimage: bool,
    /// When making it ready began.
    pub(super) begun: Instant,
    /// When its command came.
    pub(super) came: Instant,
}

fn unreadable(error: &io::Error) -> Outcome {
    Outcome::Lost(format!("the input can't be read: {error}"))
}

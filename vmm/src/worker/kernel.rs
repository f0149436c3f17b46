//! The isolation kernel of a worker: all of its VMs, and the runners, threads that give each its turn.
//!
//! A VM has no thread. A runner asks the scheduler for the next VM, holds it alone while it runs a slice of it, and puts it
//! back. A runner without a VM waits for the node's commands, for input, and for the time that idle VMs asked for; so
//! whoever hears of a job runs it, without waking another thread.

use super::{
    AbortOnPanic,
    images::Images,
    keeper::Keeper,
    message::{Command, InputKind, Report, RunId, Start},
    reporter::Reporter,
    shelf::{Ready, Shelf},
    socket::{Commands, Next, SocketError},
};
use crate::{
    gateway::{Feed, Sink, Verdict},
    kvm::{Alarm, Host, Thread, cpu_time, forget_interruption},
    schedule::{SLICE, Scheduler, VmKey},
    vm::{Assignment, Hardware, Stop, Vm},
};
use denali_protocol::{
    job::{Channel, Outcome, Usage, VmId},
    receipt::StartPath,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Events taken at a time.
const EVENTS: usize = 64;

/// What an event is about: the node's socket, the bell, or, from here on, the input of the VM of that number.
const COMMANDS: u64 = 0;
const BELL: u64 = 1;
const INPUTS: u64 = 2;

/// The VMs of one worker.
pub(super) struct Kernel {
    host: Arc<Host>,
    images: Images,
    keeper: Keeper,
    reporter: Reporter,
    commands: Mutex<Commands>,
    state: Mutex<State>,
    /// What a runner without a VM waits for.
    events: OwnedFd,
    /// Wakes a runner that waits.
    bell: OwnedFd,
    next_vm: AtomicU64,
}

struct State {
    scheduler: Scheduler,
    slots: HashMap<VmKey, Slot>,
    /// Runners that wait.
    waiting: usize,
    /// The time that one of them watches.
    watched: Option<Instant>,
    /// Why it is over, once it is.
    closed: Option<Result<(), SocketError>>,
}

/// One run.
struct Slot {
    stage: Stage,
    cancelled: bool,
    /// Input that came since a runner last looked.
    mail: Vec<(Vec<u8>, bool)>,
    /// Whether the VM's input is among the events.
    watched: bool,
}

/// How far a run is.
enum Stage {
    /// It has no VM yet.
    Waiting(Box<Pending>),
    /// Its VM is here.
    Here(Box<Resident>),
    /// A runner, this thread, has it.
    Running(Thread),
}

/// A run that has no VM yet.
struct Pending {
    start: Start,
    bundle: File,
    input: File,
}

/// A VM, and where its hardware goes after it.
struct Resident {
    vm: Vm,
    shelf: Arc<Shelf>,
    reimage: bool,
}

/// A runner's own.
struct Runner {
    alarm: Alarm,
    /// Room for a frame.
    frame: Vec<u8>,
}

/// Sends a job's output to the node.
struct ReportSink {
    run: RunId,
    reporter: Reporter,
}

impl Sink for ReportSink {
    fn output(&mut self, channel: Channel, bytes: &[u8]) {
        // Without a node no one is left to tell, and the worker ends.
        let _ = self.reporter.send(&Report::Output { run: self.run, channel, bytes: bytes.to_vec() });
    }

    fn progress(&mut self, permille: u16) {
        let _ = self.reporter.send(&Report::Progress { run: self.run, permille });
    }

    fn keeps_up(&self) -> bool {
        self.reporter.keeps_up()
    }
}

/// Runs VMs as `commands` ask, until the node closes its socket.
pub(super) fn serve(host: Host, commands: Commands, reporter: Reporter) -> Result<(), KernelError> {
    let runners = thread::available_parallelism().map_or(1, usize::from);
    let kernel = Kernel::new(host, commands, reporter, runners as u32)?;
    thread::scope(|scope| {
        for n in 0..runners {
            let runner = thread::Builder::new().name(format!("runner {n}"));
            runner.spawn_scoped(scope, || {
                let _guard = AbortOnPanic;
                kernel.run_vms();
            })?;
        }
        Ok::<_, io::Error>(())
    })?;
    kernel.state().closed.take().unwrap_or(Ok(())).map_err(KernelError::from)
}

/// Why a worker ends other than by its node's wish.
#[derive(Debug, thiserror::Error)]
pub(super) enum KernelError {
    #[error("the host has no threads or descriptors for VMs: {0}")]
    Host(#[from] io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl Kernel {
    fn new(host: Host, commands: Commands, reporter: Reporter, cpus: u32) -> io::Result<Self> {
        // VM names start at a random place, so that no two workers of a node ever give the same one.
        let mut place = [0; 8];
        SystemRandom::new().fill(&mut place).map_err(|_| io::Error::other("the host has no random numbers"))?;
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        epoll::add(&events, &commands, epoll::EventData::new_u64(COMMANDS), once)?;
        epoll::add(&events, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let host = Arc::new(host);
        Ok(Self {
            keeper: Keeper::start(Arc::clone(&host))?,
            host,
            images: Images::default(),
            reporter,
            commands: Mutex::new(commands),
            state: Mutex::new(State {
                scheduler: Scheduler::new(cpus),
                slots: HashMap::new(),
                waiting: 0,
                watched: None,
                closed: None,
            }),
            events,
            bell,
            next_vm: AtomicU64::new(u64::from_le_bytes(place)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a runner does.
    fn run_vms(&self) {
        let mut runner = match Alarm::new() {
            Ok(alarm) => Runner { alarm, frame: Vec::new() },
            Err(error) => return self.close(Err(SocketError::Io(error))),
        };
        loop {
            let mut state = self.state();
            if state.closed.is_some() {
                drop(state);
                return self.ring();
            }
            // Before others can see that this thread runs a VM: what they interrupt from then on is that.
            forget_interruption();
            if let Some((key, stage)) = state.next() {
                let others = state.scheduler.has_waiting() && state.waiting > 0;
                let no_one_listens = state.waiting == 0;
                drop(state);
                if others {
                    self.ring();
                }
                self.give_turn(key, stage, &mut runner);
                if no_one_listens {
                    self.listen(Some(Duration::ZERO));
                }
            } else {
                let timeout = state.begin_to_wait();
                drop(state);
                self.listen(timeout);
                self.state().waiting -= 1;
            }
        }
    }

    /// Takes what happened, or waits for something to happen.
    fn listen(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = Vec::with_capacity(EVENTS);
        // After an error (a signal) nothing happened.
        if epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()).is_err() {
            return;
        }
        for event in events {
            match event.data.u64() {
                COMMANDS => self.obey(),
                BELL => {
                    let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                }
                input => {
                    let mut state = self.state();
                    state.scheduler.wake(VmKey(input.wrapping_sub(INPUTS)), Instant::now());
                }
            }
        }
    }

    /// Wakes a runner that waits.
    fn ring(&self) {
        // The counter can't overflow; it is only ever read to zero.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn close(&self, why: Result<(), SocketError>) {
        let mut state = self.state();
        state.closed.get_or_insert(why);
        for slot in state.slots.values() {
            slot.interrupt();
        }
        // Each that hears it wakes the next.
        self.ring();
    }

    /// Carries out what the node asks for.
    fn obey(&self) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let obeyed = match commands.next() {
                Ok(Next::Command(Command::Start(start))) => commands.take_descriptors().map(|(bundle, input)| {
                    self.admit(Pending { start, bundle: bundle.into(), input: input.into() });
                }),
                Ok(Next::Command(Command::Cancel(run))) => {
                    self.cancel(run);
                    Ok(())
                }
                Ok(Next::Command(Command::Input { run, bytes, end })) => {
                    self.deliver(run, bytes, end);
                    Ok(())
                }
                Ok(Next::Command(Command::Cpus(cpus))) => {
                    self.lease(cpus);
                    Ok(())
                }
                Ok(Next::Command(Command::Memory(_))) => Ok(()),
                Ok(Next::Command(Command::Swap(_))) => commands.take_descriptor().map(drop),
                Ok(Next::Nothing) => break,
                Ok(Next::Closed) => return self.close(Ok(())),
                Err(error) => Err(error),
            };
            if let Err(error) = obeyed {
                return self.close(Err(error));
            }
        }
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        if let Err(error) = epoll::modify(&self.events, &*commands, epoll::EventData::new_u64(COMMANDS), once) {
            self.close(Err(SocketError::Io(error.into())));
        }
    }

    fn admit(&self, pending: Pending) {
        let key = VmKey(pending.start.run.0);
        let slot =
            Slot { stage: Stage::Waiting(Box::new(pending)), cancelled: false, mail: Vec::new(), watched: false };
        let mut state = self.state();
        state.slots.insert(key, slot);
        state.scheduler.add(key, Instant::now());
    }

    fn cancel(&self, run: RunId) {
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(&VmKey(run.0)) {
            slot.cancelled = true;
            slot.interrupt();
            state.scheduler.wake(VmKey(run.0), Instant::now());
        }
    }

    fn deliver(&self, run: RunId, bytes: Vec<u8>, end: bool) {
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(&VmKey(run.0)) {
            slot.mail.push((bytes, end));
            state.scheduler.wake(VmKey(run.0), Instant::now());
        }
    }

    fn lease(&self, cpus: u32) {
        let mut state = self.state();
        state.scheduler.set_cpus(cpus);
        let now = Instant::now();
        for key in state.scheduler.overdue(now) {
            if let Some(slot) = state.slots.get(&key) {
                slot.interrupt();
            }
        }
    }

    /// Gives a VM its turn: a slice, or less.
    fn give_turn(&self, key: VmKey, stage: Stage, runner: &mut Runner) {
        let begun = cpu_time();
        let used = || cpu_time().saturating_sub(begun);
        let mut resident = match stage {
            Stage::Here(resident) => resident,
            Stage::Running(_) => return,
            Stage::Waiting(pending) => {
                let run = pending.start.run;
                match self.start(*pending, runner) {
                    Ok(resident) => Box::new(resident),
                    Err(outcome) => {
                        self.state().forget(key, used());
                        self.report_end(run, outcome, Usage::default());
                        return;
                    }
                }
            }
        };
        self.collect_mail(key, &mut resident.vm);
        loop {
            let stop = resident.vm.run(&runner.alarm, SLICE, &mut runner.frame);
            match self.take_stop(key, stop, resident, runner, &used) {
                Some(again) => resident = again,
                None => break,
            }
        }
        self.reporter.flush();
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
                let mut state = self.state();
                state.scheduler.yielded(key, used(), Instant::now());
                state.put_back(key, resident);
                None
            }
            Stop::Idle(until) => self.let_idle(key, until, resident, used),
            Stop::Checkpoint => {
                match resident.vm.capture(&self.host) {
                    Ok(template) => self.destroy(resident.shelf.captured(template)),
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
                        self.keeper.destroy(resident.vm.start_over(hardware));
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
        let mut state = self.state();
        let slot = state.slots.get_mut(&key)?;
        if slot.has_news() {
            drop(state);
            self.collect_mail(key, &mut resident.vm);
            return Some(resident);
        }
        if let Some(input) = resident.vm.awaited_input() {
            self.watch(key, input, slot);
        }
        state.scheduler.idle(key, until, used(), Instant::now());
        state.put_back(key, resident);
        // Whoever waits may not know of a time that is earlier than the one it watches.
        let earlier = until.is_some_and(|until| state.watched.is_none_or(|watched| until < watched));
        let someone_waits = state.waiting > 0;
        drop(state);
        if earlier && someone_waits {
            self.ring();
        }
        None
    }

    /// Makes the input an event, once.
    fn watch(&self, key: VmKey, input: BorrowedFd<'_>, slot: &mut Slot) {
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(INPUTS.wrapping_add(key.0));
        // Fails only for what is always readable, and such input is never waited for.
        let _ = match std::mem::replace(&mut slot.watched, true) {
            true => epoll::modify(&self.events, input, data, once),
            false => epoll::add(&self.events, input, data, once),
        };
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
        let Pending { start, bundle, input } = pending;
        let lost = |error: &dyn std::fmt::Display| Outcome::Lost(error.to_string());
        let (shelf, useless) = self.images.get(start.bundle, start.limits.memory_bytes, bundle).map_err(|error| {
            if error.blames_bundle() { Outcome::Unstartable(error.to_string()) } else { lost(&error) }
        })?;
        self.destroy(useless);
        let input = match start.input {
            InputKind::Descriptor => Feed::of(input).map_err(|error| lost(&error))?,
            InputKind::Messages => Feed::messages(),
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
            crate::vm::HardwareError::Host(error) => Outcome::Unstartable(error.to_string()),
            error => lost(&error),
        })?;
        if ready.path == StartPath::New {
            self.keeper.stock(&shelf);
        }
        let Ready { hardware, path, given } = ready;
        let vm = Vm::start(&self.host, hardware, job, path, given, begun, &mut runner.frame);
        let vm = vm.map_err(|error| lost(&error))?;
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
        }
        // What ended badly may have left the virtual CPU in a state that no guest can reach by itself.
        let sound = !matches!(outcome, Outcome::Fault(_) | Outcome::Lost(_));
        // Reported before its hardware is put back or destroyed: nothing depends on that.
        self.report_end(RunId(key.0), outcome, usage);
        let Resident { vm, shelf, reimage } = resident;
        let mut hardware = vm.into_hardware();
        if shelf.wants_pages() {
            shelf.learn(hardware.own_pages(&self.host.pagemap).unwrap_or_default());
        }
        if sound && reimage && hardware.reset(&self.host.pagemap).is_ok() {
            self.destroy(shelf.keep(hardware));
        } else {
            self.keeper.destroy(hardware);
        }
    }

    fn report_end(&self, run: RunId, outcome: Outcome, usage: Usage) {
        let _ = self.reporter.send(&Report::Ended { run, outcome, usage });
        self.reporter.flush();
    }

    fn destroy(&self, hardware: impl IntoIterator<Item = Hardware>) {
        for hardware in hardware {
            self.keeper.destroy(hardware);
        }
    }
}

impl State {
    /// The next VM to run, for the calling thread.
    fn next(&mut self) -> Option<(VmKey, Stage)> {
        let now = Instant::now();
        self.scheduler.due(now);
        let key = self.scheduler.pick(now)?;
        let slot = self.slots.get_mut(&key)?;
        Some((key, std::mem::replace(&mut slot.stage, Stage::Running(Thread::current()))))
    }

    /// The calling thread has no VM and waits: for how long, if it is the one to watch the time.
    fn begin_to_wait(&mut self) -> Option<Duration> {
        self.waiting += 1;
        let next = self.scheduler.next_timer()?;
        self.watched = Some(next);
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn put_back(&mut self, key: VmKey, resident: Box<Resident>) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.stage = Stage::Here(resident);
        }
    }

    fn forget(&mut self, key: VmKey, used: Duration) {
        self.slots.remove(&key);
        self.scheduler.remove(key, used, Instant::now());
    }
}

impl Slot {
    /// Whether something came for its VM since a runner last looked.
    fn has_news(&self) -> bool {
        self.cancelled || !self.mail.is_empty()
    }

    /// Interrupts its VM if it runs.
    fn interrupt(&self) {
        if let Stage::Running(thread) = self.stage {
            thread.kick();
        }
    }
}

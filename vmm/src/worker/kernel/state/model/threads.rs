//! What each thread does in one step, and what it holds until the next.

use super::{
    super::super::{memory::Choice, room::OVERHEAD_KIB},
    Charge, GROWTH_KIB, HELD, Instant, Marks, Pending, Sleeper, Stage, Step, Stop, TICK, Vm, VmKey, World,
};
use crate::worker::{
    kernel::{
        state::{Next, Turn},
        turn::KEPT_KIB,
    },
    source::Source,
};
use denali_protocol::job::Outcome;
use std::{fmt, mem, time::Duration};

/// A runner, and whether it looks for events when its turn is over.
#[derive(Debug, Default)]
pub(super) struct Runner {
    phase: Phase,
    polls: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Next,
    /// It takes what came for a VM.
    Collect(Box<Vm>),
    /// A VM runs.
    Guest(Box<Vm>),
    /// A VM ended: it leaves its hardware, its run is forgotten, and its hardware goes where it goes.
    Ended(Box<Vm>),
    Forget(VmKey, Option<Going>),
    Shelve(u64, Option<Going>),
    /// It asks the keeper to make room, and waits or goes on.
    Relieve {
        waits: bool,
    },
    /// It looks for events; it waits for some; it waited for them.
    Poll,
    Listen,
    Woken,
}

/// Memory that is not free yet, and how much.
#[derive(Debug)]
pub(super) struct Going(#[expect(dead_code, reason = "it counts as long as it is there")] Charge, u64);

/// Work for makers.
#[derive(Debug)]
pub(super) enum Work {
    /// Whether its run is cancelled.
    Enter(VmKey, Stage<Marks>, bool),
    Copy(Box<Vm>),
    Feed(VmKey),
    Close(VmKey, Input),
}

/// A run's input, in the hands of a maker.
pub(super) struct Input(Source);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

#[derive(Debug, Default)]
pub(super) enum Maker {
    #[default]
    Idle,
    Has(Work),
    /// Space on disk came free. Its VM, if that came back.
    Freed(VmKey, u64, Option<Box<Vm>>),
    /// It gives a VM as much input as it takes before its first turn.
    Supply(Box<Vm>, Input),
    /// It gives input back, which waits or not, or ends it; for a VM that is made, or none.
    Return(VmKey, Input, bool, Option<Box<Vm>>),
    Finish(VmKey, Input, Option<Box<Vm>>),
    /// It reads for a run, and has read.
    Read(VmKey, Input, bool),
    Made(Box<Vm>),
    /// A run is over.
    Forget(VmKey),
}

#[derive(Debug, Default)]
pub(super) struct Keeper {
    phase: Keeping,
    pub(super) relieve_at: Option<Instant>,
}

#[derive(Debug, Default)]
enum Keeping {
    #[default]
    Idle,
    Look,
    Choose,
    Write(Box<Vm>),
    /// It is written.
    Written(Box<Vm>),
    Left(Box<Vm>, u64, Option<Going>),
    /// It found no place on disk, where it needs so much.
    Refused(Box<Vm>, u64),
    Later,
}

#[derive(Debug)]
pub(super) enum Chore {
    Destroy(Option<Going>),
    Relieve,
}

impl Runner {
    /// The run whose turn it has.
    pub(super) fn has(&self) -> Option<VmKey> {
        match &self.phase {
            Phase::Collect(vm) | Phase::Guest(vm) | Phase::Ended(vm) => Some(vm.key),
            Phase::Forget(key, _) => Some(*key),
            _ => None,
        }
    }

    /// Whether it counts among those that wait.
    pub(super) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Relieve { waits: true } | Phase::Listen | Phase::Woken)
    }

    pub(super) fn going_kib(&self) -> u64 {
        match &self.phase {
            Phase::Forget(_, Some(Going(_, kib))) | Phase::Shelve(_, Some(Going(_, kib))) => *kib,
            _ => 0,
        }
    }
}

impl Work {
    pub(super) fn has(&self) -> Option<VmKey> {
        match self {
            Self::Enter(key, ..) => Some(*key),
            Self::Copy(vm) => Some(vm.key),
            Self::Feed(_) | Self::Close(..) => None,
        }
    }
}

impl Maker {
    /// The run whose turn it has.
    pub(super) fn has(&self) -> Option<VmKey> {
        match self {
            Self::Has(work) => work.has(),
            Self::Supply(vm, _) | Self::Made(vm) => Some(vm.key),
            Self::Return(_, _, _, vm) | Self::Finish(_, _, vm) => vm.as_ref().map(|vm| vm.key),
            Self::Freed(key, ..) | Self::Forget(key) => Some(*key),
            Self::Idle | Self::Read(..) => None,
        }
    }

    pub(super) fn has_source(&self, key: VmKey) -> bool {
        match self {
            Self::Has(Work::Close(of, _)) | Self::Return(of, ..) | Self::Finish(of, ..) | Self::Read(of, ..) => {
                *of == key
            }
            Self::Supply(vm, _) => vm.key == key,
            _ => false,
        }
    }

    pub(super) fn work(&self) -> Option<&Work> {
        if let Self::Has(work) = self { Some(work) } else { None }
    }
}

impl Keeper {
    /// The run whose VM it has.
    pub(super) fn has(&self) -> Option<VmKey> {
        match &self.phase {
            Keeping::Write(vm) | Keeping::Written(vm) | Keeping::Left(vm, ..) | Keeping::Refused(vm, _) => Some(vm.key),
            _ => None,
        }
    }

    pub(super) fn going_kib(&self) -> u64 {
        if let Keeping::Left(_, _, Some(Going(_, kib))) = &self.phase { *kib } else { 0 }
    }

    /// What it has written, of a VM that is not yet noted as asleep.
    pub(super) fn written_kib(&self) -> u64 {
        match &self.phase {
            Keeping::Written(vm) | Keeping::Left(vm, ..) => vm.kib,
            _ => 0,
        }
    }
}

impl Chore {
    pub(super) fn going_kib(&self) -> u64 {
        if let Self::Destroy(Some(Going(_, kib))) = self { *kib } else { 0 }
    }
}

// Runners: `Kernel::run_vms`, `give_turn`, `take_stop`, `end`, `listen`.
impl World {
    pub(super) fn steps_of_runners(&self, will: &mut Vec<Step>, may: &mut Vec<Step>) {
        for (n, runner) in self.runners.iter().enumerate() {
            let listens = matches!(runner.phase, Phase::Listen | Phase::Poll | Phase::Woken);
            if listens {
                may.extend(self.orders().into_iter().map(|order| Step::Obey(n, order)));
            }
            match &runner.phase {
                Phase::Guest(vm) => will.extend(self.stops(vm).into_iter().map(|stop| Step::Stop(n, stop))),
                Phase::Listen if !self.has_events() => {}
                _ => will.push(Step::Runner(n)),
            }
        }
    }

    fn has_events(&self) -> bool {
        let rings = self.clock.is_some_and(|at| at <= self.state.now);
        self.bell || rings || self.pipes.values().any(|pipe| pipe.watched && pipe.unread > 0)
    }

    /// What a VM may do.
    fn stops(&self, vm: &Vm) -> Vec<Stop> {
        if vm.doomed || vm.stops == 0 || vm.deadline.is_some_and(|deadline| deadline <= self.state.now) {
            return vec![Stop::Ended];
        }
        if vm.withheld {
            return vec![Stop::Ended, Stop::Checkpoint];
        }
        let mut stops = vec![Stop::Ended, Stop::Slice { grown: false }, Stop::Idle { grown: false }];
        if self.scene.grow && !vm.grown {
            stops.extend([Stop::Slice { grown: true }, Stop::Idle { grown: true }]);
        }
        stops.extend(self.scene.nap.then_some(Stop::Nap));
        stops
    }

    pub(super) fn run(&mut self, n: usize) {
        self.runners[n].phase = match mem::take(&mut self.runners[n].phase) {
            Phase::Next => {
                let next = self.state.next(n);
                self.set_clock();
                match next {
                    Next::Turn { turn, others, no_one_listens } => {
                        self.bell |= others;
                        self.runners[n].polls = no_one_listens;
                        self.give_turn(n, turn)
                    }
                    Next::Wait { short: true } => Phase::Relieve { waits: true },
                    Next::Wait { short: false } => Phase::Listen,
                }
            }
            Phase::Collect(mut vm) => {
                let (mail, cancelled) = self.state.collect(vm.key).expect("its run is here");
                if !mail.pieces.is_empty() {
                    vm.held = HELD;
                }
                vm.until = None;
                vm.doomed |= cancelled || mail.failed.is_some() || mail.overflowed;
                Phase::Guest(vm)
            }
            Phase::Guest(_) => unreachable!("it stops by itself"),
            Phase::Ended(vm) => {
                let kib = self.state.slots[&vm.key].memory_kib;
                let going = self.state.leave_hardware(vm.key);
                Phase::Forget(vm.key, going.map(|charge| Going(charge, kib)))
            }
            Phase::Forget(key, going) => {
                let kib = going.as_ref().map_or(0, |going| going.1);
                self.forget(key);
                Phase::Shelve(kib, going)
            }
            Phase::Shelve(kib, going) => {
                if self.put_on_shelf(kib) {
                    drop(going);
                } else {
                    self.chores.push_back(Chore::Destroy(going));
                }
                self.state.let_in();
                self.after(n)
            }
            Phase::Relieve { waits } => {
                self.ask_keeper();
                if waits { Phase::Listen } else { self.after(n) }
            }
            Phase::Poll => {
                self.hear();
                Phase::Next
            }
            Phase::Listen => {
                self.hear();
                Phase::Woken
            }
            Phase::Woken => {
                self.state.waiting -= 1;
                Phase::Next
            }
        };
    }

    fn give_turn(&mut self, n: usize, turn: Turn<Marks>) -> Phase {
        let Turn { key, stage, cancelled, .. } = turn;
        match stage {
            Stage::Here(vm) => return Phase::Collect(vm),
            Stage::Waiting(pending) if !cancelled && !pending.has_source && self.shelf.pop().is_some() => {
                return Phase::Collect(self.new_vm(key));
            }
            Stage::Waiting(_) | Stage::Asleep(_) => self.bench.push_back(Work::Enter(key, stage, cancelled)),
            Stage::Running(_) | Stage::Leaving { .. } => panic!("{key:?} is given to two: {stage:?}"),
        }
        self.after(n)
    }

    fn after(&mut self, n: usize) -> Phase {
        if mem::take(&mut self.runners[n].polls) { Phase::Poll } else { Phase::Next }
    }

    pub(super) fn stop(&mut self, n: usize, stop: Stop) {
        let Phase::Guest(mut vm) = mem::take(&mut self.runners[n].phase) else { unreachable!("a VM runs") };
        let key = vm.key;
        vm.stops = vm.stops.saturating_sub(1);
        let grown = matches!(stop, Stop::Slice { grown: true } | Stop::Idle { grown: true });
        if grown {
            vm.grown = true;
            vm.kib += GROWTH_KIB;
        }
        // One that idles has taken what it was given.
        if !matches!(stop, Stop::Slice { .. }) {
            vm.held = 0;
        }
        let nap = matches!(stop, Stop::Nap).then_some(self.state.now + TICK / 2);
        vm.until = [nap, vm.deadline].into_iter().flatten().min();
        let until = vm.until;
        let memory_kib = Some(vm.kib);
        let wants_input = match stop {
            Stop::Ended => {
                self.runners[n].phase = Phase::Ended(vm);
                return;
            }
            Stop::Checkpoint => {
                self.bench.push_back(Work::Copy(vm));
                self.runners[n].phase = self.after(n);
                return;
            }
            Stop::Slice { .. } => self.state.stop(key, vm, memory_kib, Duration::ZERO),
            Stop::Idle { .. } | Stop::Nap => {
                match self.state.let_idle(key, vm, until, memory_kib.filter(|_| grown), Duration::ZERO) {
                    Ok(wants_input) => wants_input,
                    Err(vm) => {
                        self.runners[n].phase = Phase::Collect(vm);
                        return;
                    }
                }
            }
        };
        self.set_clock();
        let short = self.state.room.is_short();
        if wants_input {
            self.bench.push_back(Work::Feed(key));
        }
        self.runners[n].phase = if short { Phase::Relieve { waits: false } } else { self.after(n) };
    }

    /// A runner hears of a command.
    pub(super) fn heard(&mut self, n: usize) {
        if let phase @ Phase::Listen = &mut self.runners[n].phase {
            *phase = Phase::Woken;
        }
    }

    fn hear(&mut self) {
        self.bell = false;
        self.clock = self.clock.filter(|at| *at > self.state.now);
        for (key, pipe) in &mut self.pipes {
            if pipe.watched && pipe.unread > 0 {
                pipe.watched = false;
                self.bench.push_back(Work::Feed(*key));
            }
        }
    }

    fn set_clock(&mut self) {
        self.clock = self.state.next_clock().or(self.clock);
    }

    pub(super) fn ask_keeper(&mut self) {
        if self.state.ask() {
            self.chores.push_back(Chore::Relieve);
        }
    }

    /// Whether hardware is kept.
    fn put_on_shelf(&mut self, kib: u64) -> bool {
        let kib = kib.min(OVERHEAD_KIB + KEPT_KIB);
        let keeps = self.shelf.len() < self.scene.shelf && self.state.room.may_keep(kib);
        if keeps {
            self.shelf.push(self.kept.charge(kib));
        }
        keeps
    }

    fn new_vm(&self, key: VmKey) -> Box<Vm> {
        let deadline = self.scene.deadline.filter(|_| key == VmKey(1)).map(|time| self.state.now + time);
        let (stops, withheld) = (self.scene.stops, self.scene.warm);
        Box::new(Vm {
            key,
            kib: OVERHEAD_KIB,
            stops,
            grown: false,
            held: 0,
            doomed: false,
            withheld,
            until: None,
            deadline,
        })
    }

    fn forget(&mut self, key: VmKey) {
        if let Some(source) = self.state.forget(key, Duration::ZERO) {
            self.bench.push_back(Work::Close(key, Input(source)));
        }
        *self.ended.entry(key).or_default() += 1;
    }
}

// Makers: `Kernel::make`, `make_enter`, `wake_up`, `supply`, `read_for`.
impl World {
    pub(super) fn steps_of_makers(&self, will: &mut Vec<Step>) {
        for (n, maker) in self.makers.iter().enumerate() {
            let goes_on = match maker {
                Maker::Idle => !self.bench.is_empty(),
                // The lock of the disk.
                Maker::Has(Work::Enter(_, Stage::Asleep(_), _)) => !self.writing,
                _ => true,
            };
            will.extend(goes_on.then_some(Step::Maker(n)));
            let may_fail = match maker {
                Maker::Has(Work::Enter(_, _, cancelled)) => !cancelled,
                Maker::Supply(..) | Maker::Read(..) => true,
                _ => false,
            };
            will.extend((goes_on && may_fail && self.may.faults > 0).then_some(Step::Fails(n)));
        }
    }

    pub(super) fn make(&mut self, n: usize, fails: bool) {
        self.makers[n] = match mem::take(&mut self.makers[n]) {
            Maker::Idle => Maker::Has(self.bench.pop_front().expect("there is work")),
            Maker::Has(Work::Enter(key, stage, cancelled)) => self.enter(key, stage, cancelled, fails),
            Maker::Has(Work::Copy(mut vm)) => {
                vm.withheld = false;
                match self.state.take_source(vm.key) {
                    Some(source) => Maker::Supply(vm, Input(source)),
                    None => Maker::Made(vm),
                }
            }
            Maker::Has(Work::Feed(key)) => match self.state.take_source(key) {
                Some(source) => Maker::Read(key, Input(source), false),
                None => Maker::Idle,
            },
            Maker::Has(Work::Close(key, source)) => self.close(key, source, None),
            Maker::Freed(key, bytes, vm) => {
                self.state.space_came(bytes);
                vm.map_or(Maker::Forget(key), Maker::Made)
            }
            Maker::Supply(mut vm, source) => {
                let key = vm.key;
                vm.doomed |= fails;
                match self.read(key, fails) {
                    None => Maker::Return(key, source, true, Some(vm)),
                    Some(last) => {
                        // It takes no more before it has run.
                        vm.held = HELD;
                        if last {
                            Maker::Finish(key, source, Some(vm))
                        } else {
                            Maker::Return(key, source, false, Some(vm))
                        }
                    }
                }
            }
            Maker::Read(key, source, has_read) => match self.read(key, fails) {
                None => Maker::Return(key, source, !has_read, None),
                Some(last) => {
                    self.state.post(key, |mail| {
                        if fails {
                            mail.failed = Some(Outcome::Cancelled);
                        } else {
                            mail.push(Vec::new(), last);
                        }
                    });
                    self.bell = true;
                    if last { Maker::Finish(key, source, None) } else { Maker::Read(key, source, true) }
                }
            },
            Maker::Return(key, source, waits, vm) => {
                if waits && let Some(pipe) = self.pipes.get_mut(&key) {
                    pipe.watched = true;
                }
                match self.state.give_source(key, source.0, waits) {
                    Ok(again) => {
                        if again {
                            self.bench.push_back(Work::Feed(key));
                        }
                        vm.map_or(Maker::Idle, Maker::Made)
                    }
                    Err(source) => self.close(key, Input(*source), vm),
                }
            }
            Maker::Finish(key, source, vm) => {
                self.state.end_source(key);
                self.close(key, source, vm)
            }
            Maker::Made(vm) => {
                self.state.go_on(vm.key, vm, Duration::ZERO);
                self.bell = true;
                Maker::Idle
            }
            Maker::Forget(key) => {
                self.forget(key);
                self.bell = true;
                Maker::Idle
            }
        };
    }

    fn enter(&mut self, key: VmKey, stage: Stage<Marks>, cancelled: bool, fails: bool) -> Maker {
        match stage {
            Stage::Waiting(pending) => self.begin(key, &pending, cancelled || fails),
            Stage::Asleep(sleeper) => {
                let Sleeper { vm, .. } = *sleeper;
                let over = vm.deadline.is_some_and(|deadline| deadline <= self.state.now);
                let comes = !cancelled && !over && !fails;
                if comes {
                    self.shelf.pop();
                }
                let free = self.disk_kib.as_mut().expect("it was written");
                *free += vm.kib;
                Maker::Freed(key, *free, comes.then(|| Box::new(vm)))
            }
            Stage::Here(_) | Stage::Running(_) | Stage::Leaving { .. } => panic!("{key:?} is given to two: {stage:?}"),
        }
    }

    fn begin(&mut self, key: VmKey, pending: &Pending, ends: bool) -> Maker {
        let pipe = self.pipes.get_mut(&key);
        if ends {
            pipe.into_iter().for_each(|pipe| pipe.open = false);
            return Maker::Forget(key);
        }
        self.shelf.pop();
        let vm = self.new_vm(key);
        match pending.has_source {
            true if vm.withheld => Maker::Return(key, Input(Self::source()), true, Some(vm)),
            true => Maker::Supply(vm, Input(Self::source())),
            false => Maker::Made(vm),
        }
    }

    /// Reads a piece of input: whether it is the last, or nothing where there is none yet.
    fn read(&mut self, key: VmKey, fails: bool) -> Option<bool> {
        let pipe = self.pipes.get_mut(&key).expect("it is open");
        if fails {
            return Some(true);
        }
        pipe.unread = pipe.unread.checked_sub(1)?;
        Some(pipe.unread + pipe.unwritten == 0)
    }

    fn close(&mut self, key: VmKey, _source: Input, vm: Option<Box<Vm>>) -> Maker {
        let pipe = self.pipes.get_mut(&key).expect("it is open");
        assert!(mem::take(&mut pipe.open), "the input of {key:?} is closed twice");
        pipe.watched = false;
        vm.map_or(Maker::Idle, Maker::Made)
    }
}

// The keeper: `keeper::keep`, `Kernel::make_room`, `put_to_sleep`.
impl World {
    pub(super) fn steps_of_the_keeper(&self, will: &mut Vec<Step>) {
        let due = self.keeper.relieve_at.is_some_and(|at| at <= self.state.now);
        let goes_on = !matches!(self.keeper.phase, Keeping::Idle) || !self.chores.is_empty() || due;
        will.extend(goes_on.then_some(Step::Keeper));
        let writes = matches!(self.keeper.phase, Keeping::Write(_));
        will.extend((writes && self.may.faults > 0).then_some(Step::DiskFails));
    }

    pub(super) fn keep(&mut self, fails: bool) {
        let now = self.state.now;
        self.keeper.phase = match mem::take(&mut self.keeper.phase) {
            Keeping::Idle => {
                match self.chores.pop_front() {
                    Some(Chore::Destroy(going)) => {
                        drop(going);
                        self.state.let_in();
                        self.bell |= self.state.scheduler.has_waiting();
                    }
                    Some(Chore::Relieve) => self.keeper.relieve_at = Some(now),
                    None => {}
                }
                if self.keeper.relieve_at.is_some_and(|at| at <= now) { Keeping::Look } else { Keeping::Idle }
            }
            Keeping::Look => match self.state.begin_to_relieve() {
                Err(later) => self.look_again(Some(later)),
                Ok(true) if self.shelf.pop().is_some() => self.look_again(Some(now)),
                Ok(_) if self.disk_kib.is_some() => Keeping::Choose,
                Ok(_) => Keeping::Later,
            },
            Keeping::Choose => match self.state.choose() {
                Choice::Leaves(_, vm) => Keeping::Write(vm),
                Choice::None => Keeping::Later,
                Choice::Never => {
                    self.bell = true;
                    Keeping::Later
                }
            },
            Keeping::Write(vm) => {
                let free = self.disk_kib.as_mut().expect("there is a disk");
                let (fits, needed) = (vm.kib <= *free, vm.kib);
                if fits && !fails {
                    *free -= vm.kib;
                    Keeping::Written(vm)
                } else {
                    self.writing = true;
                    Keeping::Refused(vm, if fits { 0 } else { needed })
                }
            }
            Keeping::Written(vm) => {
                let kib = self.state.slots[&vm.key].memory_kib();
                let going = self.state.leave_hardware(vm.key);
                Keeping::Left(vm, kib, going.map(|charge| Going(charge, kib)))
            }
            Keeping::Left(vm, memory_kib, going) => {
                self.put_on_shelf(memory_kib);
                drop(going);
                self.bell |= self.state.left(vm.key, Sleeper { vm: *vm, memory_kib });
                self.look_again(Some(now))
            }
            Keeping::Refused(vm, needed) => {
                let (go_on, others) = self.state.refused(vm.key, *vm, needed);
                self.writing = false;
                self.bell |= others;
                if go_on { self.look_again(Some(now)) } else { Keeping::Later }
            }
            Keeping::Later => {
                let at = self.state.relieve_later(self.disk_kib.is_some());
                self.look_again(at)
            }
        };
    }

    fn look_again(&mut self, at: Option<Instant>) -> Keeping {
        self.keeper.relieve_at = at;
        Keeping::Idle
    }
}

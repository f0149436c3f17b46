//! The life of VMs in all orders in which the threads of a kernel can do their parts of it.
//!
//! Runners, makers and the keeper are in as few words as show which regions they run under the lock, what they hold between two,
//! and what they tell each other (`threads`). What they call in these regions is the product's own [`State`]. VMs, the disk and
//! the node do what they like, so often as a [`Scene`] says. All orders are gone through (`explore`), or in a larger scene some at
//! random. After each step the books must be right and each run in one place; and where no thread can go on, no run
//! waits that could.
//!
//! Not here: how the lock and the bell are made, the order of writes to memory outside of the lock, the worker's end, and when the
//! node is told. One step is one region; what a thread does after it without the lock is done at once, which is as if others were
//! slow to see it.

mod explore;
mod threads;

use super::{super::vms::Vms, Asked, Inflow, Kept, Stage, State, VmKey, Wish};
use crate::{
    schedule,
    worker::{shelf::Charge, source::Source},
};
use explore::{all_orders, one_order};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    fs::File,
    hash::Hasher,
    sync::LazyLock,
    time::{Duration, Instant},
};
use threads::{Chore, Keeper, Maker, Runner, Work};

static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A tick is longer than all times that the kernel knows.
const TICK: Duration = Duration::from_secs(1);

/// So often nothing comes of it that time passes, then nothing will.
const VAIN_TICKS: u8 = 3;

/// What a VM grows by, once.
const GROWTH_KIB: u64 = 400;

/// Input at a VM's door that is enough for now.
const HELD: usize = super::super::input::UNREAD_BYTES / 2;

/// What there is, and what may happen.
#[derive(Clone, Copy, Debug)]
struct Scene {
    runs: u64,
    runners: usize,
    makers: usize,
    cpus: u32,
    budget_kib: u64,
    /// VMs stop so often, then they end.
    stops: u8,
    grow: bool,
    /// Idle VMs wake by themselves after half a tick.
    nap: bool,
    /// Wall time of the first run.
    deadline: Option<Duration>,
    /// VMs have to be given their job at a CHECKPOINT.
    warm: bool,
    disk_kib: Option<u64>,
    /// Hardware without a VM that is kept.
    shelf: usize,
    /// Pieces of input from a descriptor, which the first run has.
    pieces: Option<u8>,
    may: May,
}

const SMALL: Scene = Scene {
    runs: 2,
    runners: 1,
    makers: 1,
    cpus: 1,
    budget_kib: 1000,
    stops: 2,
    grow: false,
    nap: false,
    deadline: None,
    warm: false,
    disk_kib: Some(2000),
    shelf: 0,
    pieces: None,
    may: May { cancels: 0, mails: 0, faults: 0, ticks: 0, budgets: 0, leases: 0 },
};

/// What may still happen.
#[derive(Clone, Copy, Debug)]
struct May {
    cancels: u8,
    mails: u8,
    /// VMs that can't be made or loaded, writes to the disk that fail, input that can't be read.
    faults: u8,
    /// Time may pass at any point. Where no thread can go on without, it always may.
    ticks: u8,
    /// Changes of the budget, to half of it and back.
    budgets: u8,
    /// Changes of the lease, to no CPU and back.
    leases: u8,
}

/// What threads hold of runs.
struct Marks;

#[derive(Debug)]
struct Vm {
    key: VmKey,
    kib: u64,
    stops: u8,
    grown: bool,
    held: usize,
    doomed: bool,
    withheld: bool,
    /// When it is to be woken, if it idles.
    until: Option<Instant>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Sleeper {
    vm: Vm,
    memory_kib: u64,
}

#[derive(Debug)]
struct Pending {
    has_source: bool,
}

impl Vms for Marks {
    type Pending = Pending;
    type Resident = Vm;
    type Sleeper = Sleeper;
    type Thread = usize;

    fn has_source(pending: &Pending) -> bool {
        pending.has_source
    }

    fn deadline_here(vm: &Vm) -> Option<Instant> {
        vm.deadline
    }

    fn input_left(vm: &Vm) -> usize {
        vm.held
    }

    fn deadline_asleep(sleeper: &Sleeper) -> Option<Instant> {
        sleeper.vm.deadline
    }

    fn memory_kib(sleeper: &Sleeper) -> u64 {
        sleeper.memory_kib
    }

    /// VMs stop by themselves here.
    fn kick(_thread: usize) {}
}

impl fmt::Debug for Stage<Marks> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(pending) => write!(f, "Waiting({pending:?})"),
            Self::Here(vm) => write!(f, "Here({vm:?})"),
            Self::Running(thread) => write!(f, "Running({thread})"),
            Self::Leaving { wanted } => write!(f, "Leaving({wanted})"),
            Self::Asleep(sleeper) => write!(f, "Asleep({sleeper:?})"),
        }
    }
}

/// The writer of a run's input, and what reads it.
#[derive(Clone, Copy, Debug)]
struct Pipe {
    unwritten: u8,
    unread: u8,
    /// A runner hears of it, once, when there is some.
    watched: bool,
    open: bool,
}

/// All there is at one moment.
struct World {
    scene: Scene,
    may: May,
    state: State<Marks>,
    runners: Vec<Runner>,
    makers: Vec<Maker>,
    keeper: Keeper,
    bench: VecDeque<Work>,
    chores: VecDeque<Chore>,
    bell: bool,
    clock: Option<Instant>,
    cpus: u32,
    /// Free space on disk.
    disk_kib: Option<u64>,
    /// The keeper has the disk, to note that a VM found no place.
    writing: bool,
    shelf: Vec<Charge>,
    kept: Kept,
    started: u64,
    pipes: BTreeMap<VmKey, Pipe>,
    ended: BTreeMap<VmKey, u8>,
    /// Ticks since anything else happened that counts.
    vain_ticks: u8,
}

/// What one thread does next, or what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Runner(usize),
    /// The VM of a runner stops.
    Stop(usize, Stop),
    Maker(usize),
    /// What a maker does fails.
    Fails(usize),
    Keeper,
    /// A write to the disk fails.
    DiskFails,
    Tick,
    /// A runner that listens hears of this.
    Obey(usize, Order),
    /// Input is written.
    Write(VmKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Slice { grown: bool },
    Idle { grown: bool },
    Nap,
    Checkpoint,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Start,
    Cancel(VmKey),
    Mail(VmKey),
    Budget,
    Lease,
}

impl World {
    fn new(scene: Scene) -> Self {
        let kept = Kept::default();
        let mut state = State::new(scene.cpus, kept.clone(), *ZERO);
        state.room.budget_kib = scene.budget_kib;
        state.room.has_exit = scene.disk_kib.is_some();
        Self {
            scene,
            may: scene.may,
            state,
            runners: (0..scene.runners).map(|_| Runner::default()).collect(),
            makers: (0..scene.makers).map(|_| Maker::default()).collect(),
            keeper: Keeper::default(),
            bench: VecDeque::new(),
            chores: VecDeque::new(),
            bell: false,
            clock: None,
            cpus: scene.cpus,
            disk_kib: scene.disk_kib,
            writing: false,
            shelf: Vec::new(),
            kept,
            started: 0,
            pipes: BTreeMap::new(),
            ended: BTreeMap::new(),
            vain_ticks: 0,
        }
    }

    /// What threads can do, which they will; and what may happen beside.
    fn steps(&self) -> (Vec<Step>, Vec<Step>) {
        let (mut will, mut may) = (Vec::new(), Vec::new());
        self.steps_of_runners(&mut will, &mut may);
        self.steps_of_makers(&mut will);
        self.steps_of_the_keeper(&mut will);
        let writes = self.pipes.iter().filter(|(_, pipe)| pipe.unwritten > 0).map(|(key, _)| Step::Write(*key));
        may.extend(writes);
        if will.is_empty() && self.vain_ticks < VAIN_TICKS && (self.clock.is_some() || self.keeper.relieve_at.is_some())
        {
            will.push(Step::Tick);
        } else if self.may.ticks > 0 {
            may.push(Step::Tick);
        }
        (will, may)
    }

    /// What the node may ask for.
    fn orders(&self) -> Vec<Order> {
        let mut orders = Vec::new();
        orders.extend((self.started < self.scene.runs).then_some(Order::Start));
        let mut slots: Vec<_> = self.state.slots.iter().collect();
        slots.sort_by_key(|(key, _)| **key);
        for (key, slot) in slots {
            orders.extend((self.may.cancels > 0 && !slot.cancelled).then_some(Order::Cancel(*key)));
            orders.extend((self.may.mails > 0 && !self.pipes.contains_key(key)).then_some(Order::Mail(*key)));
        }
        orders.extend((self.may.budgets > 0).then_some(Order::Budget));
        orders.extend((self.may.leases > 0).then_some(Order::Lease));
        orders
    }

    fn take(&mut self, step: Step) {
        if matches!(step, Step::Stop(..) | Step::Maker(_) | Step::Obey(..)) {
            self.vain_ticks = 0;
        }
        match step {
            Step::Runner(n) => self.run(n),
            Step::Stop(n, stop) => self.stop(n, stop),
            Step::Maker(n) => self.make(n, false),
            Step::Fails(n) => {
                self.may.faults -= 1;
                self.make(n, true);
            }
            Step::Keeper => self.keep(false),
            Step::DiskFails => {
                self.may.faults -= 1;
                self.keep(true);
            }
            Step::Tick => {
                self.state.now += TICK;
                self.vain_ticks += 1;
                self.may.ticks = self.may.ticks.saturating_sub(1);
            }
            Step::Obey(n, order) => self.obey(n, order),
            Step::Write(key) => {
                let pipe = self.pipes.get_mut(&key).expect("it is open");
                pipe.unwritten -= 1;
                pipe.unread += 1;
            }
        }
    }

    fn obey(&mut self, n: usize, order: Order) {
        self.heard(n);
        match order {
            Order::Start => {
                self.started += 1;
                let key = VmKey(self.started);
                let pieces = self.scene.pieces.filter(|_| self.started == 1);
                if let Some(unwritten) = pieces {
                    self.pipes.insert(key, Pipe { unwritten, unread: 0, watched: false, open: true });
                }
                self.state.admit(key, Pending { has_source: pieces.is_some() });
            }
            Order::Cancel(key) => {
                self.may.cancels -= 1;
                self.state.cancel(key);
            }
            Order::Mail(key) => {
                self.may.mails -= 1;
                self.state.post(key, |mail| mail.push(Vec::new(), false));
            }
            Order::Budget => {
                self.may.budgets -= 1;
                let half = self.scene.budget_kib / 2;
                self.state.set_budget(if self.state.room.budget_kib == half { self.scene.budget_kib } else { half });
                self.ask_keeper();
            }
            Order::Lease => {
                self.may.leases -= 1;
                self.cpus = if self.cpus == 0 { self.scene.cpus } else { 0 };
                self.state.scheduler.set_cpus(self.cpus);
            }
        }
    }

    /// A source that a maker reads or closes.
    fn source() -> Source {
        static NULL: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("it is there"));
        Source::of(NULL.try_clone().expect("a descriptor")).expect("a source")
    }

    /// Two worlds with the same print go on alike.
    fn print(&self) -> u64 {
        struct Print(twox_hash::XxHash3_64);
        impl fmt::Write for Print {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut print = Print(twox_hash::XxHash3_64::new());
        let mut write =
            |value: &dyn fmt::Debug| fmt::write(&mut print, format_args!("{value:?};")).expect("it takes all");
        let state = &self.state;
        write(&(state.now, &state.scheduler, &state.room, &state.ready, state.waiting, state.clock_set, state.leaver));
        write(&(&state.stuck, state.asked, state.ahead_at));
        let mut slots: Vec<_> = state.slots.iter().collect();
        slots.sort_by_key(|(key, _)| **key);
        for (key, slot) in slots {
            let inflow = match slot.inflow {
                Inflow::None => 0,
                Inflow::Away { again } => 1 + u8::from(again),
                Inflow::Here { asked, .. } => 3 + u8::from(asked),
            };
            let mail = (slot.mail.pieces.len(), slot.mail.bytes(), slot.mail.failed.is_some());
            write(&(key, &slot.stage, slot.cancelled, mail, inflow, slot.memory_kib, slot.coming_kib));
            write(&(slot.ticket, slot.came, slot.stuck));
        }
        write(&(
            &self.runners,
            &self.makers,
            &self.keeper,
            &self.bench,
            &self.chores,
            self.bell,
            self.clock,
            self.cpus,
        ));
        write(&(self.disk_kib, self.writing, &self.shelf, self.started, &self.pipes, &self.ended, self.vain_ticks));
        write(&self.may);
        print.0.finish()
    }

    /// Takes a step that leads to somewhere new, maybe.
    fn try_out(&mut self, step: Step) {
        let before = self.state.slots.iter().map(|(key, slot)| (*key, slot.memory_kib)).collect();
        self.take(step);
        self.check_entry(&before);
    }

    /// What is so after each step.
    fn check(&self) {
        self.check_places();
        self.check_books();
        self.check_sources();
        assert!(self.ended.values().all(|times| *times == 1), "a run ended twice: {:?}", self.ended);
    }

    /// Each run is in one place: nothing of it is lost, and no two threads have it.
    fn check_places(&self) {
        let state = &self.state;
        let turns: Vec<VmKey> = self
            .runners
            .iter()
            .filter_map(Runner::has)
            .chain(self.makers.iter().filter_map(Maker::has))
            .chain(self.bench.iter().filter_map(Work::has))
            .collect();
        for n in 1..=self.started {
            let key = VmKey(n);
            let turns = turns.iter().filter(|has| **has == key).count();
            let leaving = self.keeper.has() == Some(key);
            let ready = state.ready.iter().filter(|(ready, _)| *ready == key).count();
            let runs = matches!(state.scheduler.state(key), Some(schedule::State::Running(_)));
            let Some(slot) = state.slots.get(&key) else {
                assert!(self.ended.contains_key(&key), "{key:?} is forgotten, and did not end");
                assert!(turns == 0 && !leaving && ready == 0 && state.scheduler.state(key).is_none(), "{key:?} ended");
                continue;
            };
            assert!(!self.ended.contains_key(&key), "{key:?} ended, and is here");
            let expected = match &slot.stage {
                Stage::Here(vm) => {
                    assert_eq!(vm.key, key);
                    (0, false, usize::from(runs), runs)
                }
                Stage::Waiting(_) | Stage::Asleep(_) => (0, false, 0, false),
                Stage::Running(_) => (1, false, 0, true),
                Stage::Leaving { .. } => (0, true, 0, false),
            };
            assert_eq!((turns, leaving, ready, runs), expected, "{key:?} is {:?}", slot.stage);
        }
        let waiting = self.runners.iter().filter(|runner| runner.waits()).count();
        assert_eq!(state.waiting, waiting, "runners that wait");
        let running = state.slots.values().filter(|slot| matches!(slot.stage, Stage::Running(_))).count();
        assert_eq!(state.scheduler.running(), running + state.ready.len(), "those that have a turn");
    }

    /// What is counted of memory, disk and queue is what runs have.
    fn check_books(&self) {
        let (state, slots) = (&self.state, self.state.slots.values());
        let taken: u64 = slots.clone().map(|slot| slot.memory_kib).sum();
        let coming: u64 = slots.clone().map(|slot| slot.coming_kib).sum();
        let holders = slots.clone().filter(|slot| slot.memory_kib > 0).count();
        let going: u64 = self.going_kib();
        let room = format!("{:?}", state.room);
        let expected = format!("taken_kib: {taken}, coming_kib: {coming}, holders: {holders},");
        assert!(
            room.contains(&expected) && room.contains(&format!("going: Kept({going})")),
            "{expected} {going}: {room}"
        );
        let tickets = slots.clone().filter(|slot| slot.ticket.is_some()).count();
        assert_eq!(room.matches("}: (VmKey").count(), tickets, "those that wait: {room}");
        let stuck = state.slots.iter().filter_map(|(key, slot)| Some((slot.stuck?, *key)));
        assert_eq!(state.stuck, stuck.collect());
        for (key, slot) in &state.slots {
            let has = slot.memory_kib > 0;
            match &slot.stage {
                Stage::Here(_) => assert!(has, "{key:?} is in memory for nothing"),
                Stage::Waiting(_) | Stage::Asleep(_) => assert_eq!(slot.memory_kib, slot.coming_kib, "{key:?}"),
                Stage::Running(_) | Stage::Leaving { .. } => {}
            }
            assert!(slot.coming_kib == 0 || slot.ticket.is_none(), "{key:?} waits and comes");
        }
        if let (Some(free), Some(all)) = (self.disk_kib, self.scene.disk_kib) {
            assert_eq!(all - free, self.asleep_kib(), "space on disk");
        }
    }

    /// Each input that is open is in one place, and one that is closed in none.
    fn check_sources(&self) {
        for (key, pipe) in &self.pipes {
            let inflow = self.state.slots.get(key).map(|slot| &slot.inflow);
            let here = usize::from(matches!(inflow, Some(Inflow::Here { .. })));
            // Before its VM is made it is in the command that is with the run.
            let starts = usize::from(self.starts_with_source(*key));
            let away = self.makers.iter().filter(|maker| maker.has_source(*key)).count()
                + self.bench.iter().filter(|work| matches!(work, Work::Close(of, _) if of == key)).count();
            assert_eq!(here + starts + away, usize::from(pipe.open), "the input of {key:?}: {pipe:?}");
        }
    }

    /// Who came into memory in a step had room, was alone, or came from a full disk.
    fn check_entry(&self, before: &BTreeMap<VmKey, u64>) {
        let came: u64 = (self.state.slots.iter())
            .filter(|(key, _)| before.get(key).is_none_or(|kib| *kib == 0))
            .map(|(_, slot)| slot.memory_kib)
            .sum();
        let room = &self.state.room;
        let others = room.taken_kib() - came + self.going_kib();
        let from_disk = !room.has_exit && others <= room.budget_kib;
        assert!(came == 0 || others == 0 || others + came <= room.budget_kib || from_disk, "{came} beside {others}");
    }

    /// No thread can go on. Then no run waits that could.
    fn check_rest(&mut self) {
        let state = &mut self.state;
        assert!(state.ready.is_empty() && (!state.scheduler.has_waiting() || self.cpus == 0), "someone waits");
        assert!(self.bench.is_empty() && self.chores.is_empty());
        assert!(state.asked == Asked::Nothing || self.keeper.relieve_at.is_some(), "the keeper was not told");
        let late = |vm: &Vm| vm.until.is_some_and(|at| at <= state.now);
        for (key, slot) in &state.slots {
            let late = match &slot.stage {
                Stage::Here(vm) => late(vm),
                Stage::Asleep(sleeper) => late(&sleeper.vm),
                _ => false,
            };
            let ends = slot.deadline().is_some_and(|at| at <= state.now);
            assert!(
                !late || slot.ticket.is_some() && !ends || self.cpus == 0,
                "{key:?} was not woken: {:?}",
                slot.stage
            );
        }
        // All have stayed long enough then.
        state.now += Duration::from_secs(60);
        let could_leave = self.disk_kib.is_some() && state.room.wants_leavers();
        for (key, slot) in &state.slots {
            // For memory, or for a CPU where there is none.
            let waits = slot.ticket.is_some() || state.scheduler.state(*key) == Some(schedule::State::Runnable);
            let stays = !matches!(slot.stage, Stage::Here(_)) || !slot.may_leave();
            assert!(stays || !could_leave, "{key:?} could leave: {:?}", slot.stage);
            assert!(!slot.cancelled || self.cpus == 0, "{key:?} is cancelled, and did not end");
            let found = slot.stuck.is_some_and(|needed| needed > 0 && self.disk_kib.is_some_and(|free| needed <= free));
            assert!(!found, "{key:?} has a place on disk now, and was not told");
            // It would leave its place on the disk to another.
            let comes = state.room.taken_kib() <= state.room.budget_kib && self.cpus > 0;
            let dead_end = waits && matches!(slot.stage, Stage::Asleep(_)) && comes;
            assert!(!dead_end, "{key:?} waits for those that can't leave before it has come: {:?}", state.room);
            assert!(waits || slot.mail.is_empty(), "{key:?} has mail");
            assert!(waits || !matches!(slot.stage, Stage::Waiting(_)), "{key:?} did not start");
            let unread = self.pipes.get(key).map_or(0, |pipe| if pipe.open { pipe.unread } else { 0 });
            assert!(waits || unread == 0, "{key:?} has input");
        }
        assert_eq!(state.room.let_in(), None, "there is room");
        if state.slots.is_empty() {
            assert!(state.room.ask(Wish::GoOn) && state.leaver.is_none_or(|key| self.ended.contains_key(&key)));
            assert_eq!((state.scheduler.idling(), state.room.taken_kib(), self.disk_kib), (0, 0, self.scene.disk_kib));
            assert!(self.pipes.values().all(|pipe| !pipe.open), "input is open: {:?}", self.pipes);
        }
    }

    fn going_kib(&self) -> u64 {
        let of_runners = self.runners.iter().map(Runner::going_kib).sum::<u64>();
        of_runners + self.chores.iter().map(Chore::going_kib).sum::<u64>() + self.keeper.going_kib()
    }

    fn asleep_kib(&self) -> u64 {
        let asleep = |stage: &Stage<Marks>| match stage {
            Stage::Asleep(sleeper) => sleeper.vm.kib,
            _ => 0,
        };
        let here: u64 = self.state.slots.values().map(|slot| asleep(&slot.stage)).sum();
        let entering = |work: &Work| if let Work::Enter(_, stage, _) = work { asleep(stage) } else { 0 };
        let bench: u64 = self.bench.iter().map(entering).sum();
        let makers: u64 = self.makers.iter().map(|maker| maker.work().map_or(0, entering)).sum();
        here + bench + makers + self.keeper.written_kib()
    }

    fn starts_with_source(&self, key: VmKey) -> bool {
        let pends = |stage: &Stage<Marks>| matches!(stage, Stage::Waiting(pending) if pending.has_source);
        let enters = |work: &Work| matches!(work, Work::Enter(of, stage, _) if *of == key && pends(stage));
        self.state.slots.get(&key).is_some_and(|slot| pends(&slot.stage))
            || self.bench.iter().any(enters)
            || self.makers.iter().filter_map(Maker::work).any(enters)
    }
}

/// Memory has room for one of two, and there is a disk.
#[test]
fn one_makes_room_for_the_other() {
    all_orders(Scene { may: May { cancels: 1, ..SMALL.may }, ..SMALL });
}

/// The same, where both may have a CPU at once.
#[test]
fn one_makes_room_for_the_other_at_once() {
    all_orders(Scene { runners: 2, cpus: 2, stops: 1, ..SMALL });
}

/// A write to the disk fails, or what was written can't be read, or a VM can't be made.
#[test]
fn the_disk_fails() {
    all_orders(Scene { may: May { faults: 1, ..SMALL.may }, ..SMALL });
}

/// The disk takes one of two, and memory is to have room ahead of a third.
#[test]
fn the_disk_is_full() {
    let may = May { cancels: 1, mails: 1, ..SMALL.may };
    all_orders(Scene { budget_kib: 1100, disk_kib: Some(600), stops: 1, may, ..SMALL });
}

/// VMs grow beyond what there is, and can leave.
#[test]
fn they_grow() {
    all_orders(Scene { budget_kib: 1300, grow: true, ..SMALL });
}

/// VMs grow, and can't leave.
#[test]
fn they_grow_without_a_disk() {
    all_orders(Scene { budget_kib: 1300, grow: true, disk_kib: None, ..SMALL });
}

/// One of two waits for as long as the other does what it likes, or until it is cancelled.
#[test]
fn there_is_no_disk() {
    all_orders(Scene { disk_kib: None, may: May { cancels: 2, mails: 1, ..SMALL.may }, ..SMALL });
}

/// The disk takes one that has not grown.
#[test]
fn they_grow_on_a_full_disk() {
    all_orders(Scene { stops: 1, budget_kib: 1300, grow: true, disk_kib: Some(600), ..SMALL });
}

/// Makers read input while a VM takes it, idles, ends.
#[test]
fn input_is_read() {
    let may = May { cancels: 1, faults: 1, ..SMALL.may };
    all_orders(Scene { runs: 1, makers: 2, pieces: Some(2), may, ..SMALL });
}

/// Input is not read before the VM has its job.
#[test]
fn input_waits_for_a_checkpoint() {
    all_orders(Scene { runs: 1, makers: 2, warm: true, pieces: Some(2), may: May { faults: 1, ..SMALL.may }, ..SMALL });
}

/// One with input goes to disk, and comes back for it.
#[test]
fn input_comes_for_one_on_disk() {
    all_orders(Scene { stops: 1, pieces: Some(1), ..SMALL });
}

/// Messages come while a VM runs, and its end.
#[test]
fn mail_comes_for_one_that_runs() {
    all_orders(Scene { runs: 1, runners: 2, may: May { mails: 2, cancels: 1, ..SMALL.may }, ..SMALL });
}

/// Messages come for VMs that idle, leave or sleep.
#[test]
fn mail_comes_for_one_that_does_not() {
    all_orders(Scene { may: May { mails: 1, ..SMALL.may }, ..SMALL });
}

/// VMs wake by themselves, and time passes at any point.
#[test]
fn they_nap() {
    all_orders(Scene { nap: true, stops: 1, may: May { ticks: 1, ..SMALL.may }, ..SMALL });
}

/// The first run's time is over while it is anywhere.
#[test]
fn time_is_over() {
    let deadline = Some(TICK / 2);
    all_orders(Scene { deadline, stops: 1, may: May { ticks: 1, ..SMALL.may }, ..SMALL });
}

/// Hardware is kept for the next one, as long as no VM has to go for it.
#[test]
fn hardware_is_kept() {
    all_orders(Scene { shelf: 1, may: May { cancels: 1, ..SMALL.may }, ..SMALL });
}

/// The node takes memory away.
#[test]
fn the_budget_changes() {
    all_orders(Scene { budget_kib: 1200, stops: 1, may: May { budgets: 1, ..SMALL.may }, ..SMALL });
}

/// The node takes all CPUs away, and gives them back.
#[test]
fn the_lease_changes() {
    all_orders(Scene { stops: 1, may: May { leases: 2, ..SMALL.may }, ..SMALL });
}

/// More of what the other tests have. With optimisation: `cargo test --release`.
#[test]
#[ignore = "takes long"]
fn more_of_each() {
    let two = Scene { runners: 2, makers: 2, cpus: 2, ..SMALL };
    let input = May { cancels: 1, faults: 1, ..SMALL.may };
    let scenes = [
        Scene { runs: 3, may: May { cancels: 1, ..SMALL.may }, ..SMALL },
        Scene { runs: 3, stops: 1, disk_kib: Some(600), may: May { cancels: 1, ..SMALL.may }, ..SMALL },
        Scene { may: May { mails: 2, ..SMALL.may }, ..SMALL },
        Scene { may: May { faults: 1, mails: 1, ..SMALL.may }, ..SMALL },
        Scene { stops: 1, may: May { cancels: 1, ..SMALL.may }, ..two },
        Scene { stops: 1, budget_kib: 1300, grow: true, ..two },
        Scene { stops: 1, budget_kib: 1300, grow: true, may: May { faults: 1, mails: 1, ..SMALL.may }, ..SMALL },
        Scene { stops: 1, budget_kib: 1300, grow: true, disk_kib: None, ..two },
        Scene { runs: 1, pieces: Some(2), may: input, ..two },
        Scene { nap: true, may: May { ticks: 1, ..SMALL.may }, ..SMALL },
        Scene { stops: 1, deadline: Some(TICK / 2), may: May { ticks: 1, mails: 1, ..SMALL.may }, ..SMALL },
        Scene { stops: 1, budget_kib: 1200, may: May { budgets: 2, ..SMALL.may }, ..SMALL },
        Scene { stops: 1, may: May { leases: 2, ..SMALL.may }, ..two },
        Scene { shelf: 1, stops: 1, ..two },
    ];
    for scene in scenes {
        println!("{scene:?}");
        all_orders(scene);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// More of all than can be gone through.
    #[test]
    fn whatever_happens(choices in prop::collection::vec(any::<u8>(), 0..300), seed in 0..32_u64) {
        let bit = |n: u64| seed >> n & 1 == 1;
        one_order(Scene {
            runs: 3,
            runners: 2,
            makers: 2,
            cpus: 2,
            budget_kib: if bit(0) { 1300 } else { 1900 },
            stops: 3,
            grow: true,
            nap: bit(1),
            deadline: bit(2).then_some(TICK / 2),
            warm: bit(3),
            disk_kib: [Some(700), Some(3000), None][(seed % 3) as usize],
            shelf: 2,
            pieces: bit(4).then_some(3),
            may: May { cancels: 1, mails: 2, faults: 2, ticks: 2, budgets: 2, leases: 2 },
        }, &choices);
    }
}

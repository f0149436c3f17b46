//! All that a kernel can make of its room, with a few VMs of a few sizes, against books as plain as can be: every step in
//! every world that steps lead to.
//!
//! The steps are those of `state`, `turn`, `memory` and `maker`, as far as each is done under one lock. What they leave to
//! the time or to the disk comes in any order. The room is made anew from the plain books for each step, so worlds
//! that differ in names alone are one.

use super::*;
use std::collections::{HashMap, HashSet, VecDeque};

/// Memory comes in pieces of so many KiB.
const PIECE: u64 = 1000;

/// Most VMs at once.
const VMS: usize = 4;

/// Most ended VMs whose hardware is to be destroyed.
const GOING: usize = 2;

/// A budget that bounds nothing.
const NO_BOUND: u8 = u8::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
enum Stage {
    /// There is no such VM.
    #[default]
    Gone,
    /// It waits to be made.
    New,
    Asleep,
    /// It was let in, and has had no turn since.
    Coming,
    Running,
    Here,
    /// The keeper writes it to disk.
    Leaving,
    /// It is written; its hardware is not free yet.
    Left,
    /// It is free now, and no one has been let in since.
    Freed,
    /// Its turn is to end.
    Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
struct Vm {
    stage: Stage,
    /// What it takes when it is in memory, what it is charged, and of that what it was let in with; in pieces.
    size: u8,
    charged: u8,
    coming: u8,
    /// Its place in the queue, from 1 on.
    place: u8,
    favourite: bool,
}

impl Vm {
    fn waits(&self) -> bool {
        self.place > 0
    }

    fn wish(&self) -> Wish {
        match self.stage {
            Stage::New => Wish::Start(kib(self.size)),
            Stage::Asleep => Wish::Return(kib(self.size)),
            _ => Wish::GoOn,
        }
    }

    /// Whether it takes memory and has nothing to wait for.
    fn goes_on(&self) -> bool {
        self.charged > 0 && !self.waits()
    }
}

/// The plain books.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    vms: [Vm; VMS],
    /// What is to be destroyed takes.
    going: [u8; GOING],
    /// Some of it was, and no one has been let in since.
    owes: bool,
    budget: u8,
    has_exit: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A VM that is new, or on disk, is picked.
    Ask(usize),
    /// One is picked that is here, or was let in.
    Begin(usize),
    /// Its turn is over, and it takes so much: it idles, or goes on later.
    Stop {
        vm: usize,
        size: u8,
        idles: bool,
    },
    /// It is picked to end, whatever it waits for.
    Cancel(usize),
    /// It ends; it has hardware, or none any more.
    End {
        vm: usize,
        hardware: bool,
    },
    /// The keeper takes it; has written it; has freed its hardware; gives it back; or could not write it.
    Leave(usize),
    Write(usize),
    Free(usize),
    GiveBack(usize),
    Fail(usize),
    /// The hardware of an ended one is destroyed, and the kernel told so.
    Destroy(usize),
    LetIn,
    /// Space came free on the disk, or there is none.
    Exit(bool),
    Budget(u8),
}

/// What is explored.
#[derive(Debug)]
struct Bounds {
    vms: usize,
    /// The largest VM.
    size: u8,
    budgets: &'static [u8],
    disk: bool,
    cpus: usize,
    /// Ended VMs whose hardware is to be destroyed.
    going: usize,
}

fn kib(pieces: u8) -> u64 {
    u64::from(pieces) * PIECE
}

impl World {
    fn new(budget: u8) -> Self {
        Self { vms: Default::default(), going: [0; GOING], owes: false, budget, has_exit: false }
    }

    fn budget_kib(&self) -> u64 {
        if self.budget == NO_BOUND { u64::MAX } else { kib(self.budget) }
    }

    fn charged(&self) -> u64 {
        self.vms.iter().map(|vm| kib(vm.charged)).sum()
    }

    fn is_over(&self) -> bool {
        self.vms.iter().filter(|vm| vm.charged > 0).count() > 1 && self.charged() > self.budget_kib()
    }

    /// Those that wait, in the order in which they are to be let in.
    fn queue(&self) -> Vec<usize> {
        let mut queue: Vec<usize> = (0..VMS).filter(|n| self.vms[*n].waits()).collect();
        queue.sort_by_key(|n| (self.vms[*n].wish() != Wish::GoOn, self.vms[*n].place));
        queue
    }

    /// Who is let in next: the first, or where none can leave the first that leaves its place on disk to another.
    fn next_in(&self) -> Option<usize> {
        let queue = self.queue();
        let returns = |n: &&usize| !self.has_exit && matches!(self.vms[**n].wish(), Wish::Return(_));
        let mut candidates = queue.first().into_iter().chain(queue.iter().find(returns));
        candidates.find(|n| self.has_room(self.vms[**n].wish())).copied()
    }

    fn favourite(&self) -> Option<usize> {
        self.vms.iter().position(|vm| vm.favourite)
    }

    fn favour(&mut self, favourite: Option<usize>) {
        (0..VMS).for_each(|n| self.vms[n].favourite = favourite == Some(n));
    }

    /// What is not free: of VMs, and of those that left or ended.
    fn taken(&self) -> u64 {
        let left = self.vms.iter().filter(|vm| vm.stage == Stage::Left).map(|vm| vm.size);
        self.charged() + self.going.into_iter().chain(left).map(kib).sum::<u64>()
    }

    /// Whether a VM that wishes this may come, or go on, before all others.
    fn has_room(&self, wish: Wish) -> bool {
        let (taken, budget) = (self.taken(), self.budget_kib());
        let fits = taken == 0 || taken + wish.kib() <= budget;
        match wish {
            Wish::Start(_) => fits,
            // Where memory and disk are full, one may be too many.
            Wish::Return(_) => fits || (!self.has_exit && taken <= budget),
            // Where none can leave, one grows at a time.
            Wish::GoOn => !self.is_over() || self.has_exit || self.favourite().is_none(),
        }
    }

    /// Whether the first that waits, or so much more memory, does not fit beside those that there are.
    fn lacks(&self, more_kib: u64) -> bool {
        let first = self.queue().first().map_or(0, |n| self.vms[*n].wish().kib());
        self.charged() > 0 && self.charged() + first + more_kib > self.budget_kib()
    }

    /// Without names: those that are alike are alike whatever their order.
    fn normal(mut self) -> Self {
        let mut places: Vec<u8> = self.vms.iter().map(|vm| vm.place).filter(|place| *place > 0).collect();
        places.sort_unstable();
        for vm in &mut self.vms {
            vm.place = places.iter().position(|place| *place == vm.place).map_or(0, |at| at as u8 + 1);
        }
        self.vms.sort_unstable();
        self.going.sort_unstable();
        self
    }
}

/// A world, and the room that keeps its books.
struct Desk {
    world: World,
    room: Room,
    going: [Option<Charge>; GOING],
    left: [Option<Charge>; VMS],
}

impl Desk {
    fn new(world: World) -> Self {
        let mut room = Room {
            budget_kib: world.budget_kib(),
            taken_kib: world.charged(),
            coming_kib: world.vms.iter().map(|vm| kib(vm.coming)).sum(),
            holders: world.vms.iter().filter(|vm| vm.charged > 0).count(),
            has_exit: world.has_exit,
            favourite: world.favourite().map(|n| key(n as u64)),
            ..Room::new(Kept::default())
        };
        for (n, vm) in (0..).zip(&world.vms).filter(|(_, vm)| vm.waits()) {
            room.queue.insert(ticket(vm), (key(n), vm.wish()));
            if matches!(vm.wish(), Wish::Return(_)) {
                room.returns.insert(ticket(vm));
            }
            room.tickets = room.tickets.max(vm.place.into());
        }
        let going = world.going.map(|size| (size > 0).then(|| room.going(kib(size))));
        let left = world.vms.map(|vm| (vm.stage == Stage::Left).then(|| room.going(kib(vm.size))));
        Self { world, room, going, left }
    }

    fn vm(&mut self, n: usize) -> &mut Vm {
        &mut self.world.vms[n]
    }

    /// As `State::let_in`.
    fn let_in(&mut self) {
        loop {
            let next = self.world.next_in();
            let let_in = self.room.let_in();
            assert_eq!(let_in, next.map(|n| (key(n as u64), self.world.vms[n].wish())), "who is let in");
            let (Some(n), Some((key, wish))) = (next, let_in) else { break };
            self.vm(n).place = 0;
            if wish != Wish::GoOn {
                let Vm { charged, size, .. } = self.world.vms[n];
                self.room.charge(key, kib(charged), kib(size));
                *self.vm(n) = Vm { stage: Stage::Coming, charged: size, coming: size, ..self.world.vms[n] };
            } else if self.world.is_over() && !self.world.has_exit {
                self.world.favour(Some(n));
            }
        }
        self.world.owes = false;
    }

    /// As `State::set_memory`.
    fn set_memory(&mut self, n: usize, size: u8) {
        self.room.charge(key(n as u64), kib(self.world.vms[n].charged), kib(size));
        self.vm(n).charged = size;
        if size == 0 {
            self.vm(n).favourite = false;
        }
        self.let_in();
    }

    fn set_exit(&mut self, has_exit: bool) {
        (self.room.has_exit, self.world.has_exit) = (has_exit, has_exit);
        self.let_in();
    }

    fn queue(&mut self, n: usize) {
        let Ticket { outside, number } = self.room.queue(key(n as u64), self.world.vms[n].wish());
        assert!(self.world.vms.iter().all(|vm| u64::from(vm.place) < number));
        self.vm(n).place = number as u8;
        assert_eq!(outside, ticket(&self.world.vms[n]).outside);
    }

    /// As `Slot::stop_waiting`.
    fn stop_waiting(&mut self, n: usize) {
        let vm = self.world.vms[n];
        if vm.waits() {
            self.room.leave_queue(ticket(&vm));
        }
        self.room.came(kib(vm.coming));
        (self.vm(n).place, self.vm(n).coming) = (0, 0);
    }

    fn stop(&mut self, n: usize, size: u8, idles: bool) {
        let grew = size > self.world.vms[n].charged;
        self.set_memory(n, size);
        let grows_alone = self.world.is_over() && !self.world.has_exit;
        if grew && grows_alone && self.world.favourite().is_none() {
            self.world.favour(Some(n));
        }
        let pauses = grew && self.room.must_pause(key(n as u64));
        assert_eq!(pauses, grew && grows_alone && self.world.favourite() != Some(n), "who has to wait");
        (self.vm(n).stage, self.vm(n).size) = (Stage::Here, size);
        if pauses {
            self.queue(n);
        }
        if idles {
            self.room.rests(key(n as u64));
            self.vm(n).favourite = false;
            self.let_in();
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Ask(n) => {
                if self.world.vms[n].stage == Stage::Gone {
                    *self.vm(n) = Vm { stage: Stage::New, size: 1, ..Vm::default() };
                }
                let vm = self.world.vms[n];
                let may = self.room.ask(vm.wish());
                let passes = !self.world.has_exit && matches!(vm.wish(), Wish::Return(_));
                let first = self.world.queue().is_empty() || passes;
                assert_eq!(may, first && self.world.has_room(vm.wish()), "who need not wait");
                if may {
                    self.set_memory(n, vm.size);
                    self.vm(n).stage = Stage::Running;
                } else {
                    self.queue(n);
                }
            }
            Step::Begin(n) => {
                self.stop_waiting(n);
                self.vm(n).stage = Stage::Running;
            }
            Step::Stop { vm, size, idles } => self.stop(vm, size, idles),
            Step::Cancel(n) => {
                self.stop_waiting(n);
                self.vm(n).stage = Stage::Ending;
            }
            Step::End { vm, hardware } => {
                let size = self.world.vms[vm].charged;
                if hardware && let Some(free) = self.world.going.iter().position(|size| *size == 0) {
                    self.going[free] = Some(self.room.going(kib(size)));
                    self.world.going[free] = size;
                }
                self.set_memory(vm, 0);
                self.stop_waiting(vm);
                self.set_memory(vm, 0);
                *self.vm(vm) = Vm::default();
            }
            Step::Leave(n) => self.vm(n).stage = Stage::Leaving,
            Step::Write(n) => {
                self.left[n] = Some(self.room.going(kib(self.world.vms[n].charged)));
                self.vm(n).stage = Stage::Left;
                self.set_memory(n, 0);
            }
            Step::Free(n) => {
                self.left[n] = None;
                self.vm(n).stage = Stage::Freed;
            }
            Step::GiveBack(n) => {
                self.vm(n).stage = Stage::Asleep;
                self.set_exit(true);
            }
            Step::Fail(n) => {
                if !self.world.is_over() {
                    self.set_exit(false);
                }
                self.vm(n).stage = Stage::Here;
                self.let_in();
            }
            Step::Destroy(n) => {
                self.going[n] = None;
                self.world.going[n] = 0;
                self.world.owes = true;
            }
            Step::LetIn => self.let_in(),
            Step::Exit(has_exit) => self.set_exit(has_exit),
            Step::Budget(budget) => {
                self.world.budget = budget;
                self.room.budget_kib = self.world.budget_kib();
                self.let_in();
            }
        }
    }

    /// The room has the same books.
    fn check_books(&self) {
        let plain = Self::new(self.world);
        let books = |room: &Room| {
            let sums = (room.taken_kib, room.coming_kib, room.going.kib(), room.kept.kib(), room.holders);
            (sums, room.budget_kib, room.has_exit, room.favourite)
        };
        assert_eq!(books(&self.room), books(&plain.room));
        assert_eq!(self.room.queue, plain.room.queue);
    }

    /// What holds between any two steps.
    fn check(&self) {
        let Self { world, room, .. } = self;
        let queue = world.queue();
        assert_eq!(room.is_over(), world.is_over());
        assert!(world.favourite().is_none_or(|n| world.vms[n].goes_on()), "who may grow goes on");

        // Whoever waits, waits for something that comes about by itself, and is worked for.
        let busy = |vm: &Vm| vm.goes_on() || matches!(vm.stage, Stage::Left | Stage::Freed | Stage::Ending);
        let comes = world.owes || world.going.iter().any(|size| *size > 0) || world.vms.iter().any(busy);
        assert!(queue.is_empty() || (comes && room.is_short()));
        assert_eq!(room.wants_leavers(), world.is_over() || (!queue.is_empty() && world.lacks(0)));
        assert_eq!(room.wants_leavers_ahead(), world.lacks(AHEAD_KIB.min(world.budget_kib() / 8)));

        // What is kept goes before any VM, but for two pieces on their way.
        let coming: u64 = world.vms.iter().map(|vm| kib(vm.coming)).sum();
        let passing_on = if coming > 0 || !queue.is_empty() { 2 * OVERHEAD_KIB } else { 0 };
        let allowed = world.budget_kib().saturating_add(passing_on);
        for kept in [1, PIECE, 2 * PIECE] {
            let fits = world.charged() - coming + kept <= allowed;
            assert_eq!(room.may_keep(kept), fits);
            let _kept = room.kept.charge(kept);
            assert_eq!(room.kept_too_much(), !fits);
        }
        assert!(!room.kept_too_much());
    }
}

fn ticket(vm: &Vm) -> Ticket {
    Ticket { outside: vm.wish() != Wish::GoOn, number: vm.place.into() }
}

/// The world after a step.
fn after(world: World, step: Step) -> World {
    let mut desk = Desk::new(world);
    desk.take(step);
    desk.check_books();
    desk.world.normal()
}

/// A way out of any world: as long as it is not there, what to do next.
type Way = fn(&World) -> Option<Step>;

/// The first VM of this stage that does not wait.
fn first(world: &World, stage: Stage) -> Option<usize> {
    world.vms.iter().position(|vm| vm.stage == stage && !vm.waits())
}

/// What was begun is done; whoever runs idles, and takes no more than before.
fn work_off(world: &World) -> Option<Step> {
    let destroy = || world.going.iter().position(|size| *size > 0).map(Step::Destroy);
    let end = || first(world, Stage::Ending).map(|vm| Step::End { vm, hardware: false });
    let stop = || first(world, Stage::Running).map(|vm| Step::Stop { vm, size: world.vms[vm].charged, idles: true });
    world
        .owes
        .then_some(Step::LetIn)
        .or_else(|| first(world, Stage::Freed).map(Step::GiveBack))
        .or_else(|| first(world, Stage::Left).map(Step::Free))
        .or_else(destroy)
        .or_else(end)
        .or_else(stop)
}

/// All are let in as those end that do not wait.
fn end(world: &World) -> Option<Step> {
    let ended = || {
        let next = [Stage::Here, Stage::Coming].into_iter().find_map(|stage| first(world, stage));
        next.map(Step::Cancel)
    };
    let running = || first(world, Stage::Running).map(|vm| Step::End { vm, hardware: false });
    let leaving = || first(world, Stage::Leaving).map(Step::Fail);
    let waits = !world.queue().is_empty();
    waits.then(|| running().or_else(|| work_off(world)).or_else(leaving).or_else(ended).expect("no one can end"))
}

/// No one leaves or ends: who grew goes on as those idle that did before.
fn idle(world: &World) -> Option<Step> {
    let leaving = || first(world, Stage::Leaving).map(Step::Fail);
    let begun = || world.favourite().map(Step::Begin);
    let waits = world.vms.iter().any(|vm| vm.waits() && vm.wish() == Wish::GoOn);
    waits.then(|| work_off(world).or_else(leaving).or_else(begun).expect("no one may grow"))
}

/// No one ends: all are let in as those leave that were. As `Kernel::choose`, where the disk takes every VM.
fn leave(world: &World) -> Option<Step> {
    let leaving = || first(world, Stage::Leaving).map(Step::Write);
    let leaves = || first(world, Stage::Here).filter(|_| world.lacks(0) || world.is_over()).map(Step::Leave);
    let stays = || (world.is_over() && world.has_exit).then_some(Step::Exit(false));
    let begins = || first(world, Stage::Coming).map(Step::Begin);
    let waits = !world.queue().is_empty();
    let next = || work_off(world).or_else(leaving).or_else(leaves).or_else(stays).or_else(begins);
    waits.then(|| next().expect("no one can leave"))
}

fn leads_out<'a>(worlds: impl Iterator<Item = &'a World>, way: Way) {
    let mut out = HashSet::new();
    for world in worlds {
        let (mut world, mut steps) = (*world, Vec::new());
        while !out.contains(&world)
            && let Some(step) = way(&world)
        {
            steps.push((world, step));
            assert!(steps.len() < 100, "{steps:#?}");
            world = after(world, step);
        }
        out.extend(steps.into_iter().map(|(world, _)| world));
    }
}

impl Bounds {
    /// All that can happen next.
    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        let on_cpus = world.vms.iter().filter(|vm| matches!(vm.stage, Stage::Running | Stage::Ending)).count();
        let cpu = on_cpus < self.cpus;
        // As `State::next`.
        let may = cpu && !(world.is_over() && world.has_exit);
        let live = world.vms.iter().filter(|vm| vm.stage != Stage::Gone).count();
        let leave = world.lacks(AHEAD_KIB.min(world.budget_kib() / 8));
        let mut before = None;
        for (n, vm) in world.vms.iter().enumerate() {
            // Of those that are alike, one will do.
            if before.replace(*vm) == Some(*vm) {
                continue;
            }
            match vm.stage {
                Stage::Gone if live < self.vms && may => steps.push(Step::Ask(n)),
                Stage::Asleep if !vm.waits() && may => steps.push(Step::Ask(n)),
                Stage::Coming if may => steps.push(Step::Begin(n)),
                Stage::Here if !vm.waits() && may => steps.push(Step::Begin(n)),
                Stage::Running => {
                    let least = if world.budget == NO_BOUND { vm.charged } else { vm.charged.max(2) - 1 };
                    let most = if world.budget == NO_BOUND { vm.charged } else { self.size.min(vm.charged + 2) };
                    for size in least..=most {
                        steps.extend([true, false].map(|idles| Step::Stop { vm: n, size, idles }));
                    }
                    steps.push(Step::End { vm: n, hardware: false });
                }
                Stage::Ending => steps.push(Step::End { vm: n, hardware: false }),
                Stage::Leaving => steps.extend([Step::Write(n), Step::Fail(n)]),
                Stage::Left => steps.push(Step::Free(n)),
                Stage::Freed => steps.push(Step::GiveBack(n)),
                _ => {}
            }
            if cpu && matches!(vm.stage, Stage::New | Stage::Asleep | Stage::Coming | Stage::Here) {
                steps.push(Step::Cancel(n));
            }
            if vm.stage == Stage::Here && !vm.waits() && self.disk && leave {
                steps.push(Step::Leave(n));
            }
            let ends = matches!(vm.stage, Stage::Running | Stage::Ending) && vm.charged > 0;
            if ends && world.going.iter().filter(|size| **size > 0).count() < self.going {
                steps.push(Step::End { vm: n, hardware: true });
            }
        }
        steps.extend((0..GOING).filter(|n| world.going[*n] > 0).map(Step::Destroy));
        if world.owes {
            steps.push(Step::LetIn);
        }
        if self.disk {
            steps.push(Step::Exit(!world.has_exit));
        }
        steps.extend(self.budgets.iter().filter(|budget| **budget != world.budget).map(|budget| Step::Budget(*budget)));
        steps
    }

    /// Every world that steps lead to from an empty one. What fails, fails with the steps that led there.
    fn explore(&self) -> usize {
        let mut worlds: HashMap<World, Option<(World, Step)>> = HashMap::new();
        let mut left: VecDeque<World> = self.budgets.iter().map(|budget| World::new(*budget)).collect();
        worlds.extend(left.iter().map(|world| (*world, None)));
        while let Some(world) = left.pop_front() {
            for step in self.steps(&world) {
                let taken = std::panic::catch_unwind(|| {
                    let next = after(world, step);
                    if !worlds.contains_key(&next) {
                        Desk::new(next).check();
                    }
                    next
                });
                let next = taken.unwrap_or_else(|panic| {
                    let mut before = Some((world, step));
                    while let Some((world, step)) = before {
                        eprintln!("{step:?} after {world:?}");
                        before = worlds[&world];
                    }
                    std::panic::resume_unwind(panic);
                });
                worlds.entry(next).or_insert_with(|| {
                    left.push_back(next);
                    Some((world, step))
                });
            }
        }
        leads_out(worlds.keys(), end);
        leads_out(worlds.keys().filter(|world| !world.has_exit), idle);
        if self.disk {
            leads_out(worlds.keys(), leave);
        }
        worlds.len()
    }
}

/// Explores each, and says how far it came.
fn explore(all: &[Bounds]) {
    for bounds in all {
        eprintln!("{} worlds of {bounds:?}", bounds.explore());
    }
}

#[test]
fn without_a_disk_all_are_let_in_in_order() {
    explore(&[
        Bounds { vms: 3, size: 3, budgets: &[2, 4], disk: false, cpus: 2, going: 1 },
        Bounds { vms: 4, size: 3, budgets: &[3], disk: false, cpus: 2, going: 1 },
    ]);
}

#[test]
fn with_a_disk_all_are_let_in_in_order() {
    explore(&[
        Bounds { vms: 2, size: 3, budgets: &[1, 3, NO_BOUND], disk: true, cpus: 2, going: 1 },
        Bounds { vms: 3, size: 2, budgets: &[2], disk: true, cpus: 2, going: 1 },
        Bounds { vms: 4, size: 2, budgets: &[3], disk: true, cpus: 1, going: 0 },
    ]);
}

#[test]
#[ignore = "takes minutes: larger worlds of the same"]
fn in_larger_worlds_too() {
    explore(&[
        Bounds { vms: 4, size: 4, budgets: &[3], disk: false, cpus: 2, going: 2 },
        Bounds { vms: 3, size: 4, budgets: &[1, 3, NO_BOUND], disk: false, cpus: 2, going: 2 },
        Bounds { vms: 3, size: 3, budgets: &[1, 3, NO_BOUND], disk: true, cpus: 2, going: 2 },
        Bounds { vms: 3, size: 4, budgets: &[2, 4], disk: true, cpus: 2, going: 2 },
        Bounds { vms: 4, size: 2, budgets: &[3], disk: true, cpus: 1, going: 2 },
    ]);
}

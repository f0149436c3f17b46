//! Guests that mean the isolation kernel harm. Beside each group of them an honest VM of the same worker computes: it gets
//! its share, they end by their own limits, and nothing is left of them.

mod guest;

use denali_protocol::{
    bundle::CpuModel,
    job::{Clock, Limits, Outcome, Usage},
};
use denali_vmm::{
    swap::create,
    worker::message::{Command, Report, RunId, Status},
};
use guest::{Asm, Worker, guest};
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use std::{
    arch::global_asm,
    collections::{HashMap, HashSet},
    fs::{self, File},
    os::fd::AsFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

global_asm!(include_str!("guest/kernel.s"), options(raw));

/// What is held and CPU time are the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const MIB: u64 = 1 << 20;

/// The port of the instruction.
const IDLE: u16 = 0xd0;

/// Time after which a test gives up waiting, whatever the machine does beside.
const PATIENCE: Duration = Duration::from_secs(40);

fn limits(cpu_ms: u64, wall_ms: u64) -> Limits {
    Limits { memory_bytes: 8 * MIB, cpu_time_us: cpu_ms * 1000, wall_time_us: wall_ms * 1000, output_bytes: MIB }
}

/// A worker under attack.
struct Arena {
    worker: Worker,
    alive: HashSet<RunId>,
    ends: HashMap<RunId, (Outcome, Usage)>,
    output: HashMap<RunId, Vec<u8>>,
    status: Status,
    statuses: u64,
    /// The most that a status said of memory.
    memory_kib: u64,
    /// How many runs each status has to name, while none starts or ends.
    steady: Option<usize>,
    /// Descriptors and threads before it.
    held: [usize; 2],
    disk: Option<File>,
    _alone: MutexGuard<'static, ()>,
}

impl Arena {
    /// A worker with so many CPUs.
    fn new(cpus: u32) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held();
        let mut worker = Worker::start();
        worker.send(&Command::Cpus(cpus), &[]);
        Self {
            worker,
            alive: HashSet::new(),
            ends: HashMap::new(),
            output: HashMap::new(),
            status: Status::default(),
            statuses: 0,
            memory_kib: 0,
            steady: None,
            held,
            disk: None,
            _alone: alone,
        }
    }

    /// The same, whose VMs may hold so much memory, and the rest on disk.
    fn with_disk(cpus: u32, memory_bytes: u64, disk_bytes: u64) -> Self {
        let mut arena = Self::new(cpus);
        arena.worker.send(&Command::Memory(memory_bytes), &[]);
        let file = create(&std::env::temp_dir()).expect("a file");
        arena.worker.send(&Command::Swap(disk_bytes), &[file.as_fd()]);
        arena.disk = Some(file);
        arena
    }

    fn begin(&mut self, code: &Asm, limits: Limits) -> RunId {
        self.begin_image(&guest::image(&code.0), limits)
    }

    /// A sample that waits for input.
    fn begin_echo(&mut self) -> RunId {
        let echo = denali_samples::ALL.iter().find(|sample| sample.name == "echo").expect("there is an echo");
        self.begin_image(echo.elf, limits(60_000, 60_000))
    }

    fn begin_image(&mut self, image: &[u8], limits: Limits) -> RunId {
        let run = self.worker.begin_program(image, CpuModel::V2, limits, Vec::new(), None);
        self.alive.insert(run);
        run
    }

    fn cancel(&mut self, run: RunId) {
        self.worker.send(&Command::Cancel(run), &[]);
    }

    fn say(&mut self, run: RunId, bytes: &[u8], end: bool) {
        self.worker.send(&Command::Input { run, bytes: bytes.to_vec(), end }, &[]);
    }

    /// Takes reports until `enough`.
    fn take_until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !enough(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: waited in vain; {:?}, alive {:?}", self.status, self.alive);
            self.take(Duration::from_millis(100));
        }
    }

    /// Takes reports for so long.
    fn take_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.take(end.saturating_duration_since(Instant::now()));
        }
    }

    fn take(&mut self, time: Duration) {
        match self.worker.report_within(time) {
            Some(Report::Output { run, bytes, .. }) => self.output.entry(run).or_default().extend(bytes),
            Some(Report::Ended { run, outcome, usage }) => {
                assert!(self.alive.remove(&run), "{run:?} ended twice: {outcome:?}");
                self.ends.insert(run, (outcome, usage));
            }
            Some(Report::Status(status)) => {
                self.status = *status;
                self.statuses += 1;
                self.memory_kib = self.memory_kib.max(self.status.memory_kib);
                if let Some(runs) = self.steady {
                    assert_eq!(self.named(), runs, "{:?}", self.status);
                }
            }
            _ => {}
        }
    }

    /// Runs that the latest status names.
    fn named(&self) -> usize {
        let Status { runnable, running, idle, swapped, .. } = self.status;
        (runnable + running + idle + swapped) as usize
    }

    fn outcome(&self, run: RunId) -> &Outcome {
        &self.ends.get(&run).expect("it ended").0
    }

    fn all_ended_with(&self, outcome: &Outcome) {
        for (run, (ended, usage)) in &self.ends {
            assert_eq!(ended, outcome, "{run:?}, {usage:?}");
        }
    }

    /// An honest VM beside attackers until all of them have ended. Of the CPU time that this process used since it started,
    /// it must have got its share, less a fifth.
    fn attack(&mut self, codes: &[Asm], limits: Limits) -> Vec<RunId> {
        let honest = self.begin(&Asm::new().spin(), self::limits(60_000, 60_000));
        let echo = self.begin_echo();
        let before = process_cpu();
        let attackers: Vec<_> = codes.iter().map(|code| self.begin(code, limits)).collect();
        self.take_until("the attackers end", |a| attackers.iter().all(|run| a.ends.contains_key(run)));
        let spent = process_cpu() - before;
        self.cancel(honest);
        self.say(echo, b"still here", true);
        self.take_until("the others end", |a| a.alive.is_empty());
        assert_eq!(self.outcome(honest), &Outcome::Cancelled);
        assert_eq!(self.output.get(&echo).map(Vec::as_slice), Some(b"still here".as_slice()));
        let got = Duration::from_micros(self.ends[&honest].1.cpu_us);
        let share = spent / (codes.len() as u32 + 1);
        eprintln!("{} attackers: {spent:?} spent, the honest VM got {got:?}", codes.len());
        assert!(got >= share * 4 / 5, "{got:?} of {spent:?} beside {} attackers", codes.len());
        attackers
    }

    /// All runs have ended: nothing is left of them.
    fn finish(mut self) {
        self.take_until("all end", |a| a.alive.is_empty());
        self.steady = None;
        self.take_until("nothing is left", |a| a.named() == 0 && a.status.memory_kib == 0 && a.status.swap_bytes == 0);
        self.close();
    }

    /// The worker ends, whatever its runs do, and leaves no descriptor and no thread.
    fn close(self) {
        let took = self.worker.close();
        assert!(took.is_some_and(|took| took < Duration::from_secs(2)), "it took {took:?} to end");
        drop(self.disk);
        let (before, begun) = (self.held, Instant::now());
        // Its last thread closes its socket.
        while held().iter().zip(before).any(|(now, before)| *now > before) {
            assert!(begun.elapsed() < Duration::from_secs(2), "descriptors and threads: {before:?}, then {:?}", held());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Descriptors of this process, and threads of workers in it.
fn held() -> [usize; 2] {
    let entries = |of: &str| fs::read_dir(format!("/proc/self/{of}")).expect("/proc is mounted").flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let of_worker = |name: &String| ["reporter", "keeper", "runner"].iter().any(|start| name.starts_with(start));
    [entries("fd").count(), entries("task").map(name).filter(of_worker).count()]
}

fn process_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a time")
}

fn over(clock: Clock, limits: Limits) -> Outcome {
    let limit_us = if clock == Clock::Cpu { limits.cpu_time_us } else { limits.wall_time_us };
    Outcome::TimeLimit { clock, limit_us }
}

#[test]
fn idling_until_times_that_are_past() {
    let mut arena = Arena::new(1);
    let limits = limits(700, 20_000);
    let codes = [0, 1, 1_000_000].map(|until| guest!(guest_idler, guest_idler_end).with_r15(until));
    for run in arena.attack(&codes, limits) {
        assert_eq!(arena.outcome(run), &over(Clock::Cpu, limits));
    }
    arena.finish();
}

/// Times that no one lives to see are waited for, without work.
#[test]
fn idling_until_times_that_never_come() {
    let mut arena = Arena::new(1);
    let limits = limits(1000, 1500);
    let times = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, i64::MAX as u64 / 1_000_000_000];
    let runs: Vec<_> =
        times.iter().map(|t| arena.begin(&guest!(guest_idler, guest_idler_end).with_r15(*t), limits)).collect();
    let before = process_cpu();
    arena.take_until("they end", |a| a.alive.is_empty());
    assert!(process_cpu() - before < Duration::from_millis(700), "it waits busily");
    for (run, time) in runs.iter().zip(times) {
        assert_eq!(arena.outcome(*run), &over(Clock::Wall, limits), "until {time}");
        assert!(arena.ends[run].1.cpu_us < 200_000, "until {time}: {:?}", arena.ends[run]);
    }
    arena.finish();
}

#[test]
fn flapping_between_idle_and_run() {
    for memory in [None, Some(64 * MIB)] {
        let mut arena = Arena::new(1);
        if let Some(bytes) = memory {
            arena.worker.send(&Command::Memory(bytes), &[]);
        }
        let limits = limits(5000, 2500);
        let codes = [0, 1000, 100_000].map(|ns| guest!(guest_flapper, guest_flapper_end).with_r15(ns));
        for run in arena.attack(&codes, limits) {
            assert_eq!(arena.outcome(run), &over(Clock::Wall, limits));
        }
        arena.finish();
    }
}

#[test]
fn kicking_for_ever() {
    let mut arena = Arena::new(1);
    let limits = limits(700, 20_000);
    let codes = [(); 3].map(|()| guest!(guest_kicker, guest_kicker_end));
    for run in arena.attack(&codes, limits) {
        assert_eq!(arena.outcome(run), &over(Clock::Cpu, limits));
    }
    arena.finish();
}

/// The first VM of a bundle is cold, from the second the copy is taken, the others start from it.
#[test]
fn asking_for_ten_thousand_copies() {
    let mut arena = Arena::new(1);
    let code = guest!(guest_copier, guest_copier_end).with_r14(10_000).with_r15(1000);
    for n in 0..5 {
        for run in arena.attack(std::slice::from_ref(&code), limits(20_000, 30_000)) {
            assert_eq!(arena.outcome(run), &Outcome::Exited(0), "job {n}");
            assert_eq!(arena.ends[&run].1.exits.checkpoint, if n < 2 { 10_000 } else { 9_999 }, "job {n}");
        }
    }
    arena.take_until("all are counted", |a| a.status.counts.ended >= 15);
    assert!(arena.status.counts.copies <= 2, "{:?}", arena.status.counts);
    arena.finish();
}

/// Whoever cancels the one job from which the copy was to be taken does not take it from the others.
#[test]
fn a_copy_is_taken_although_a_job_on_its_way_there_was_cancelled() {
    let mut arena = Arena::new(2);
    // Some hundred milliseconds.
    let code = guest!(guest_copier, guest_copier_end).with_r14(1).with_r15(400_000_000);
    let limits = limits(900, 20_000);
    let first = arena.begin(&code, limits);
    arena.take_until("the first ends", |a| a.ends.contains_key(&first));
    let second = arena.begin(&code, limits);
    arena.take_for(Duration::from_millis(30));
    arena.cancel(second);
    arena.take_until("the second ends", |a| a.ends.contains_key(&second));
    assert_eq!(arena.outcome(second), &Outcome::Cancelled);
    for _ in 0..2 {
        let run = arena.begin(&code, limits);
        arena.take_until("it ends", |a| a.ends.contains_key(&run));
        assert_eq!(arena.outcome(run), &Outcome::Exited(0));
    }
    arena.take_until("a copy", |a| a.status.counts.ended == 4);
    assert_eq!(arena.status.counts.copies, 1, "{:?}", arena.status.counts);
    arena.finish();
}

#[test]
fn protecting_all_memory_for_ever() {
    let mut arena = Arena::new(1);
    let limits = Limits { memory_bytes: 256 * MIB, ..limits(700, 20_000) };
    let codes = [(); 3].map(|()| guest!(guest_protector, guest_protector_end));
    for run in arena.attack(&codes, limits) {
        assert_eq!(arena.outcome(run), &over(Clock::Cpu, limits));
    }
    arena.finish();
}

/// Swapped out and brought back over and over. The limit of memory is theirs; what they left they find.
#[test]
fn dirtying_all_memory_between_naps() {
    let mut arena = Arena::with_disk(1, 12 * MIB, 256 * MIB);
    let limits = limits(20_000, 30_000);
    let codes = [(); 6].map(|()| guest!(guest_dirtier, guest_dirtier_end).with_r14(5).with_r15(250_000_000));
    for run in arena.attack(&codes, limits) {
        assert_eq!(arena.outcome(run), &Outcome::Exited(0));
    }
    assert!(arena.status.counts.swapped_out > 10, "{:?}", arena.status.counts);
    assert_eq!(arena.status.counts.swap_failures, 0);
    arena.finish();
}

/// So many naps that the disk never catches up: the worker goes on to say how it is, to end what fails, and to end itself.
#[test]
fn more_naps_than_the_disk_can_follow() {
    let mut arena = Arena::with_disk(2, 4 * MIB, 1024 * MIB);
    let limits = limits(60_000, 60_000);
    let code = guest!(guest_dirtier, guest_dirtier_end).with_r14(1000).with_r15(210_000_000);
    for _ in 0..60 {
        arena.begin(&code, limits);
    }
    arena.take_until("all are there", |a| a.named() == 60);
    arena.steady = Some(60);
    let before = arena.statuses;
    arena.take_for(Duration::from_secs(3));
    assert!(arena.statuses >= before + 6, "{} reports in three seconds", arena.statuses - before);
    assert!(arena.status.counts.swapped_out > 20, "{:?}", arena.status.counts);
    arena.steady = None;
    // What is destroyed of these, the same thread destroys that writes to disk.
    let victims: Vec<_> = arena.alive.iter().copied().take(50).collect();
    victims.iter().for_each(|run| arena.cancel(*run));
    arena.take_until("those that are cancelled end", |a| a.alive.len() == 10);
    arena.all_ended_with(&Outcome::Cancelled);
    arena.close();
}

/// They end at about the time at which they are written to disk.
#[test]
fn ending_while_being_swapped_out() {
    let mut arena = Arena::with_disk(2, 8 * MIB, 512 * MIB);
    let limits = limits(60_000, 60_000);
    for n in 0..60 {
        let code = guest!(guest_dirtier, guest_dirtier_end).with_r14(1 + n % 3).with_r15(201_000_000 + n * 1_000_000);
        arena.begin(&code, limits);
    }
    arena.take_until("all end", |a| a.alive.is_empty());
    arena.all_ended_with(&Outcome::Exited(0));
    arena.finish();
}

/// Runs of all kinds, cancelled in every stage of their lives.
#[test]
fn cancelled_in_every_stage() {
    let mut arena = Arena::with_disk(2, 6 * MIB, 512 * MIB);
    let limits = limits(60_000, 60_000);
    let codes = [
        Asm::new().spin(),
        guest!(guest_idler, guest_idler_end).with_r15(u64::MAX),
        guest!(guest_dirtier, guest_dirtier_end).with_r14(1000).with_r15(210_000_000),
        guest!(guest_flapper, guest_flapper_end).with_r15(1000),
        guest!(guest_copier, guest_copier_end).with_r14(1).with_r15(u64::MAX),
        guest!(guest_protector, guest_protector_end),
    ];
    let mut runs = Vec::new();
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..240 {
        runs.push(arena.begin(&codes[n % codes.len()], limits));
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        arena.take_for(Duration::from_micros((dice >> 40) % 6000));
        if n % 2 == 1 {
            let victim = runs.swap_remove((dice >> 33) as usize % runs.len());
            arena.cancel(victim);
        }
    }
    runs.iter().for_each(|run| arena.cancel(*run));
    arena.take_until("all end", |a| a.alive.is_empty());
    arena.all_ended_with(&Outcome::Cancelled);
    assert_eq!(arena.ends.len(), 240);
    arena.finish();
}

/// Input for VMs that are on their way to disk and back, not waiting for any answer.
#[test]
fn input_at_any_time() {
    let mut arena = Arena::with_disk(2, 2 * MIB, 256 * MIB);
    let runs: Vec<_> = (0..20).map(|_| arena.begin_echo()).collect();
    for round in 0..30 {
        for (n, run) in runs.iter().enumerate() {
            if (n + round) % 3 != 0 {
                arena.say(*run, format!("{round} ").as_bytes(), false);
            }
        }
        arena.take_for(Duration::from_millis(round as u64 * 7 % 40));
    }
    runs.iter().for_each(|run| arena.say(*run, b"", true));
    arena.take_until("all end", |a| a.alive.is_empty());
    for (n, run) in runs.iter().enumerate() {
        let said: String = (0..30).filter(|round| (n + round) % 3 != 0).map(|round| format!("{round} ")).collect();
        assert_eq!(arena.outcome(*run), &Outcome::Exited(0));
        assert_eq!(String::from_utf8_lossy(&arena.output[run]), said);
    }
    arena.finish();
}

/// Megabytes for VMs that never look at them: they end, and say why.
#[test]
fn input_that_no_one_reads() {
    let mut arena = Arena::with_disk(2, 4 * MIB, 256 * MIB);
    let limits = limits(60_000, 4000);
    let naps = guest!(guest_flapper, guest_flapper_end).with_r15(300_000_000);
    let codes = [guest!(guest_idler, guest_idler_end).with_r15(u64::MAX), naps];
    let deaf: Vec<_> = (0..7).map(|n| arena.begin(&codes[n / 6], limits)).collect();
    let piece = vec![7; 60_000];
    for _ in 0..50 {
        deaf.iter().for_each(|run| arena.say(*run, &piece, false));
        arena.take_for(Duration::from_millis(2));
    }
    let echo = arena.begin_echo();
    arena.say(echo, b"heard", true);
    arena.take_until("all end", |a| a.alive.is_empty());
    assert_eq!(arena.output[&echo], b"heard");
    let flooded = |run: &RunId| matches!(arena.outcome(*run), Outcome::Lost(why) if why.contains("has not read"));
    assert!(deaf.iter().all(flooded), "{:?}", arena.ends);
    arena.finish();
}

/// Memory that VMs may take of what a worker is given, in KiB.
fn vms_part(memory_bytes: u64) -> u64 {
    (memory_bytes - memory_bytes / 3) / 1024
}

/// All that sleep are wanted at once: they come back as there is room, and all answer.
#[test]
fn a_storm_of_wakes_stays_within_the_budget() {
    let mut arena = Arena::with_disk(2, 4 * MIB, 256 * MIB);
    let runs: Vec<_> = (0..80).map(|_| arena.begin_echo()).collect();
    arena.take_until("all have VMs", |a| a.status.idle + a.status.swapped == 80 && a.status.swapped >= 70);
    arena.steady = Some(80);
    for round in 1..=5 {
        runs.iter().for_each(|run| arena.say(*run, b"x", false));
        arena.take_until("all answer", |a| runs.iter().all(|run| a.output.get(run).is_some_and(|o| o.len() == round)));
    }
    arena.steady = None;
    // What two runners' VMs touch in their turns comes on top.
    assert!(arena.memory_kib <= vms_part(4 * MIB) + 256, "{} KiB", arena.memory_kib);
    runs.iter().for_each(|run| arena.cancel(*run));
    arena.finish();
}

/// None of those in memory idles: they make room for each other, and for whoever is asked something.
#[test]
fn those_that_compute_take_turns_in_memory() {
    let mut arena = Arena::with_disk(2, 3 * MIB, 256 * MIB);
    let runs: Vec<_> = (0..8).map(|_| arena.begin(&Asm::new().spin(), limits(60_000, 60_000))).collect();
    let echo = arena.begin_echo();
    for round in 1..=5 {
        arena.say(echo, b"x", false);
        arena.take_until("an answer", |a| a.output.get(&echo).is_some_and(|output| output.len() == round));
        arena.take_for(Duration::from_millis(1000));
    }
    arena.say(echo, b"", true);
    runs.iter().for_each(|run| arena.cancel(*run));
    arena.take_until("all end", |a| a.alive.is_empty());
    let mut used: Vec<_> = runs.iter().map(|run| arena.ends[run].1.cpu_us / 1000).collect();
    used.sort_unstable();
    // The one that was second to start was to make a CHECKPOINT: it started over, and counts from there.
    used.remove(0);
    eprintln!("{used:?} ms, {} trips", arena.status.counts.swapped_out);
    assert!(used.iter().all(|ms| *ms >= used.iter().sum::<u64>() / 7 / 3), "{used:?} ms");
    assert!(arena.status.counts.swapped_out < 200, "{:?}", arena.status.counts);
    arena.finish();
}

/// Each that computes has a CPU for itself, and there is no room beside them: they make some for whoever comes, and is asked.
#[test]
fn who_has_a_cpu_alone_leaves_memory_too() {
    let busy = |r14| guest!(guest_dirtier, guest_dirtier_end).with_r14(r14).with_r15(0);
    for (cpus, code, memory_bytes) in [(2, Asm::new().spin(), 8 * MIB), (1, busy(u64::MAX), 96 * MIB)] {
        let budget = if cpus == 2 { 2 * MIB } else { 64 * MIB };
        let mut arena = Arena::with_disk(cpus, budget, 512 * MIB);
        let limits = Limits { memory_bytes, ..limits(60_000, 60_000) };
        let runs: Vec<_> = (0..cpus).map(|_| arena.begin(&code, limits)).collect();
        arena.take_for(Duration::from_secs(1));
        let echo = arena.begin_echo();
        for round in 1..=3 {
            let begun = Instant::now();
            arena.say(echo, b"x", false);
            arena.take_until("an answer", |a| a.output.get(&echo).is_some_and(|output| output.len() == round));
            eprintln!("an answer beside {cpus} after {:?}", begun.elapsed());
            assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
            arena.take_for(Duration::from_millis(500));
        }
        arena.say(echo, b"", true);
        runs.iter().for_each(|run| arena.cancel(*run));
        arena.finish();
    }
}

/// All are let in while they are small. Then each takes more than the budget for itself, and never idles.
#[test]
fn growing_beyond_the_budget() {
    for disk in [true, false] {
        let mut arena = if disk { Arena::with_disk(2, 12 * MIB, 256 * MIB) } else { Arena::new(2) };
        arena.worker.send(&Command::Memory(12 * MIB), &[]);
        let dirtier = guest!(guest_dirtier, guest_dirtier_end).with_r14(1000).with_r15(0);
        let code = Asm::new().instruction(IDLE, 700_000_000, 0, 0).raw(&dirtier.0);
        let runs: Vec<_> = (0..8).map(|_| arena.begin(&code, limits(30_000, 60_000))).collect();
        arena.take_until("all end", |a| a.alive.is_empty());
        arena.all_ended_with(&Outcome::Exited(0));
        assert_eq!(runs.len(), 8);
        eprintln!("{} KiB, {} trips", arena.memory_kib, arena.status.counts.swapped_out);
        // Two runners may let one each grow for a slice. Without a disk the others may a little.
        let most = if disk { 2 * 9 } else { 4 * 9 };
        assert!(arena.memory_kib <= vms_part(12 * MIB) + most * 1024, "{} KiB", arena.memory_kib);
        arena.finish();
    }
}

/// One idles that is larger than the budget, and has just come. Nothing else happens, and it goes all the same.
#[test]
fn who_waits_for_a_large_one_to_leave_gets_in() {
    let mut arena = Arena::with_disk(2, 64 * MIB, 512 * MIB);
    let large = Limits { memory_bytes: 96 * MIB, ..limits(60_000, 60_000) };
    arena.begin(&guest!(guest_dirtier, guest_dirtier_end).with_r14(2).with_r15(50_000_000_000), large);
    arena.take_until("it has grown", |a| a.status.memory_kib > 90 << 10 && a.status.idle == 1);
    let echo = arena.begin_echo();
    arena.say(echo, b"hello", true);
    let begun = Instant::now();
    arena.take_until("an answer", |a| a.ends.contains_key(&echo));
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert_eq!(arena.output[&echo], b"hello");
    arena.alive.clone().into_iter().for_each(|run| arena.cancel(run));
    arena.finish();
}

/// Those that idle longest find no place on disk. Nothing else happens, and smaller ones go all the same.
#[test]
fn a_small_one_goes_where_large_ones_find_no_place() {
    let mut arena = Arena::new(2);
    arena.worker.send(&Command::Memory(50 * MIB), &[]);
    let large = Limits { memory_bytes: 9 * MIB, ..limits(60_000, 60_000) };
    let naps = guest!(guest_dirtier, guest_dirtier_end).with_r14(2).with_r15(50_000_000_000);
    for _ in 0..7 {
        arena.begin(&naps, large);
    }
    arena.take_until("they have grown", |a| a.status.memory_kib > 30 << 10 && a.status.idle == 7);
    for _ in 0..16 {
        arena.begin_echo();
    }
    arena.take_until("some wait", |a| a.named() == 23 && a.status.idle > 8 && a.status.runnable > 0);
    arena.take_for(Duration::from_millis(300));
    let file = create(&std::env::temp_dir()).expect("a file");
    arena.worker.send(&Command::Swap(24 << 10), &[file.as_fd()]);
    arena.disk = Some(file);
    arena.take_until("some sleep", |a| a.status.swapped > 0);
    assert!(arena.status.counts.swap_failures >= 7, "{:?}", arena.status);
    arena.alive.clone().into_iter().for_each(|run| arena.cancel(run));
    arena.finish();
}

/// How often this process' keeper went to sleep.
fn keepers_naps() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let keeper = statuses.filter(|status| status.starts_with("Name:\tkeeper\n"));
    let naps = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    keeper.filter_map(naps).sum()
}

/// Less is free than should be, and no VM can go. Turns that end do not each have it looked for one.
#[test]
fn the_keeper_sleeps_where_none_can_go() {
    let mut arena = Arena::new(1);
    arena.worker.send(&Command::Memory(900 << 10), &[]);
    let flapper = arena.begin(&guest!(guest_flapper, guest_flapper_end).with_r15(1_000_000), limits(60_000, 60_000));
    arena.take_for(Duration::from_millis(500));
    let (naps, turns) = (keepers_naps(), arena.status.counts.turns);
    arena.take_for(Duration::from_secs(1));
    let (naps, turns) = (keepers_naps() - naps, arena.status.counts.turns - turns);
    assert!(turns > 300 && naps < 150, "{naps} naps of the keeper in {turns} turns");
    arena.cancel(flapper);
    arena.finish();
}

/// Memory and disk are full of VMs that compute. None is written over and over to where it has no place.
#[test]
fn a_full_disk_is_left_alone() {
    let mut arena = Arena::with_disk(2, 12 * MIB, 24 << 10);
    let busy = guest!(guest_dirtier, guest_dirtier_end).with_r14(u64::MAX).with_r15(0);
    for _ in 0..4 {
        arena.begin(&busy, limits(60_000, 60_000));
    }
    arena.take_for(Duration::from_secs(2));
    let failures = arena.status.counts.swap_failures;
    assert!((1..=8).contains(&failures), "{failures} times");
    arena.alive.clone().into_iter().for_each(|run| arena.cancel(run));
    arena.finish();
}

/// Memory gets short: hardware that waits for its next job is destroyed, and no VM has to go.
#[test]
fn kept_hardware_goes_before_any_vm() {
    let mut arena = Arena::with_disk(2, 256 * MIB, 256 * MIB);
    let runs: Vec<_> = (0..12).map(|_| arena.begin_echo()).collect();
    arena.take_until("all idle", |a| a.status.idle == 12);
    let twelve = held()[0];
    runs.iter().for_each(|run| arena.say(*run, b"", true));
    arena.take_until("all end", |a| a.alive.is_empty());
    let last = arena.begin_echo();
    arena.take_until("one idles", |a| a.status.idle == 1);
    arena.take_for(Duration::from_millis(200));
    // How many are kept is a matter of who came first. Each has two descriptors, and takes 540 KiB or more: there is room for
    // five, the one that idles included. To destroy the others takes the kernel its time.
    let five = twelve - 2 * 7;
    assert!(held()[0] > five, "{twelve} descriptors with twelve VMs, then {}", held()[0]);
    arena.worker.send(&Command::Memory(3 * MIB), &[]);
    let end = Instant::now() + Duration::from_secs(10);
    while held()[0] > five {
        assert!(Instant::now() < end, "{twelve} descriptors with twelve VMs, then {}", held()[0]);
        arena.take_for(Duration::from_millis(50));
    }
    assert_eq!(arena.status.counts.swapped_out, 0);
    arena.say(last, b"still here", true);
    arena.finish();
}

/// What the worker's events are about, but for its own three.
fn watched_inputs() -> usize {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted").flatten();
    let is_epoll = |fd: &fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("anon_inode:[eventpoll]"));
    let info = |fd: fs::DirEntry| {
        fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.file_name().display())).unwrap_or_default()
    };
    let lines = entries.filter(is_epoll).map(info).map(|info| info.matches("tfd:").count());
    lines.sum::<usize>().saturating_sub(3)
}

/// Sleepers whose pipes the node holds too are cancelled: no event is left of them.
#[test]
fn nothing_is_watched_for_those_that_are_gone() {
    let mut arena = Arena::with_disk(2, 64 * MIB, 256 * MIB);
    let echo = denali_samples::ALL.iter().find(|sample| sample.name == "echo").expect("there is an echo");
    let pipes: Vec<_> = (0..6).map(|_| std::io::pipe().expect("a pipe")).collect();
    let pipes: Vec<(std::os::fd::OwnedFd, _)> = pipes.into_iter().map(|(read, write)| (read.into(), write)).collect();
    let begin = |(input, _): &(std::os::fd::OwnedFd, _)| {
        arena.worker.begin_program(echo.elf, CpuModel::V2, limits(60_000, 60_000), Vec::new(), Some(input))
    };
    let runs: Vec<_> = pipes.iter().map(begin).collect();
    arena.alive.extend(&runs);
    arena.take_until("all idle", |a| a.status.idle == 6);
    assert_eq!(watched_inputs(), 6);
    arena.worker.send(&Command::Memory(0), &[]);
    arena.take_until("all sleep", |a| a.status.swapped == 6);
    runs.iter().for_each(|run| arena.cancel(*run));
    arena.take_until("all end", |a| a.alive.is_empty());
    // Makers close inputs after the end is told.
    let end = Instant::now() + Duration::from_secs(10);
    while watched_inputs() > 0 && Instant::now() < end {
        arena.take_for(Duration::from_millis(10));
    }
    assert_eq!(watched_inputs(), 0);
    drop(pipes);
    arena.finish();
}

/// More runs wait for memory than are looked at to find one that may go.
#[test]
fn a_crowd_waits_for_memory() {
    let mut arena = Arena::with_disk(2, 2 * MIB, 256 * MIB);
    let runs: Vec<_> = (0..200).map(|_| arena.begin_echo()).collect();
    arena.take_until("all have VMs", |a| a.status.idle + a.status.swapped == 200);
    runs.iter().for_each(|run| arena.cancel(*run));
    arena.finish();
}

/// Without a disk: who waits for memory is counted once, whatever comes for it, and starts when there is more memory.
#[test]
fn more_memory_lets_those_in_who_wait() {
    let mut arena = Arena::new(2);
    arena.worker.send(&Command::Memory(MIB), &[]);
    let runs: Vec<_> = (0..6).map(|_| arena.begin_echo()).collect();
    arena.take_until("all are there", |a| a.named() == 6);
    arena.steady = Some(6);
    for _ in 0..10 {
        runs.iter().for_each(|run| arena.say(*run, b"x", false));
        arena.take_for(Duration::from_millis(30));
    }
    assert!(arena.status.runnable > 0, "{:?}", arena.status);
    arena.worker.send(&Command::Memory(64 * MIB), &[]);
    arena.take_until("all have VMs", |a| a.status.idle == 6);
    arena.steady = None;
    runs.iter().for_each(|run| arena.say(*run, b"", true));
    arena.take_until("all end", |a| a.alive.is_empty());
    assert!(runs.iter().all(|run| arena.output[run] == b"xxxxxxxxxx"), "{:?}", arena.output);
    arena.finish();
}

/// The last thing that happens is that sleepers are cancelled: the node learns that their space is free.
#[test]
fn the_last_sleepers_are_cancelled() {
    let mut arena = Arena::with_disk(2, 64 * MIB, 256 * MIB);
    let runs: Vec<_> = (0..8).map(|_| arena.begin_echo()).collect();
    arena.take_until("all idle", |a| a.status.idle == 8);
    arena.worker.send(&Command::Memory(0), &[]);
    arena.take_until("all sleep", |a| a.status.swapped == 8);
    arena.take_for(Duration::from_millis(300));
    runs.iter().for_each(|run| arena.cancel(*run));
    arena.finish();
}

/// Input that never stops keeps its VM awake, but not the others from their CPU.
#[test]
fn a_flood_of_input_takes_no_ones_turn() {
    let mut arena = Arena::new(1);
    let limits = limits(60_000, 60_000);
    let honest = arena.begin(&Asm::new().spin(), limits);
    // Some milliseconds for each look at its input.
    let deaf = arena.begin(&guest!(guest_grinder, guest_grinder_end).with_r14(10_000_000), limits);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        arena.say(deaf, b"!", false);
        arena.take(Duration::from_micros(500));
    }
    arena.cancel(honest);
    arena.cancel(deaf);
    arena.take_until("both end", |a| a.alive.is_empty());
    let (got, taken) = (arena.ends[&honest].1.cpu_us, arena.ends[&deaf].1.cpu_us);
    eprintln!("flood: {got} us against {taken} us");
    assert!(got >= taken * 4 / 5, "{got} us against {taken} us");
    arena.finish();
}

/// What a node, or a run's client, does to a worker.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Start(usize),
    StartEcho,
    /// Of any run so far, ended ones among them.
    Cancel(usize),
    Say(usize, usize),
    Memory(u64),
    Cpus(u32),
    Wait(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let run = 0..1000usize;
    prop_oneof![
        4 => (0..5usize).prop_map(Deed::Start),
        4 => Just(Deed::StartEcho),
        3 => run.clone().prop_map(Deed::Cancel),
        8 => (run, 0..5000usize).prop_map(|(run, bytes)| Deed::Say(run, bytes)),
        2 => (1..12u64).prop_map(|mib| Deed::Memory(mib * MIB)),
        // No CPU at all for a while, too.
        2 => (0..4u32).prop_map(Deed::Cpus),
        4 => (0..30_000u64).prop_map(Deed::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever order things happen in: each run ends once, as it has to; who is told something gets all of it, in order; and
    /// nothing is left.
    #[test]
    fn any_order_of_commands(deeds in prop::collection::vec(deed(), 50..250)) {
        let mut arena = Arena::with_disk(2, 4 * MIB, 256 * MIB);
        let limits = limits(60_000, 60_000);
        let codes = [
            Asm::new().spin(),
            guest!(guest_idler, guest_idler_end).with_r15(u64::MAX),
            guest!(guest_dirtier, guest_dirtier_end).with_r14(1000).with_r15(210_000_000),
            guest!(guest_flapper, guest_flapper_end).with_r15(1000),
            guest!(guest_copier, guest_copier_end).with_r14(1).with_r15(u64::MAX),
        ];
        // Each run, what an echo was told, and whether it was cancelled.
        let mut runs: Vec<(RunId, Option<Vec<u8>>, bool)> = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Start(code) => runs.push((arena.begin(&codes[code], limits), None, false)),
                Deed::StartEcho => runs.push((arena.begin_echo(), Some(Vec::new()), false)),
                Deed::Cancel(n) if !runs.is_empty() => {
                    let at = n % runs.len();
                    runs[at].2 = true;
                    arena.cancel(runs[at].0);
                }
                Deed::Say(n, bytes) if !runs.is_empty() => {
                    let at = n % runs.len();
                    let (run, said, _) = &mut runs[at];
                    let Some(said) = said else { continue };
                    let words: Vec<u8> = (0..bytes).map(|n| (said.len() + n) as u8).collect();
                    said.extend(&words);
                    arena.say(*run, &words, false);
                }
                Deed::Cancel(_) | Deed::Say(..) => {}
                Deed::Memory(bytes) => arena.worker.send(&Command::Memory(bytes), &[]),
                Deed::Cpus(cpus) => arena.worker.send(&Command::Cpus(cpus), &[]),
                Deed::Wait(us) => arena.take_for(Duration::from_micros(us)),
            }
        }
        arena.worker.send(&Command::Cpus(2), &[]);
        for (run, said, _) in &runs {
            match said {
                Some(_) => arena.say(*run, b"", true),
                None => arena.cancel(*run),
            }
        }
        arena.take_until("all end", |a| a.alive.is_empty());
        prop_assert_eq!(arena.ends.len(), runs.len());
        for (run, said, cancelled) in &runs {
            let output = arena.output.get(run).map_or(&[][..], Vec::as_slice);
            match (arena.outcome(*run), said) {
                (Outcome::Exited(0), Some(said)) => prop_assert!(output == said, "{:?} heard something else", run),
                (Outcome::Cancelled, Some(said)) => prop_assert!(*cancelled && said.starts_with(output), "{:?}", run),
                (Outcome::Cancelled, None) => {}
                other => prop_assert!(false, "{:?}: {:?}", run, other),
            }
        }
        arena.finish();
    }
}

/// Input from a pipe waits outside as long as its VM does not take it, however much there is.
#[test]
fn input_from_a_pipe_waits_for_its_reader() {
    const BYTES: usize = 6 << 20;
    let mut arena = Arena::new(2);
    let echo = denali_samples::ALL.iter().find(|sample| sample.name == "echo").expect("there is an echo");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let reader: std::os::fd::OwnedFd = reader.into();
    let limits = Limits { output_bytes: 2 * BYTES as u64, ..limits(60_000, 60_000) };
    let run = arena.worker.begin_program(echo.elf, CpuModel::V2, limits, Vec::new(), Some(&reader));
    drop(reader);
    arena.alive.insert(run);
    arena.take_until("it idles", |a| a.status.idle == 1);
    arena.worker.send(&Command::Cpus(0), &[]);
    let writing = std::thread::spawn(move || {
        for _ in 0..BYTES / 4096 {
            std::io::Write::write_all(&mut writer, &[b'x'; 4096]).expect("someone reads");
        }
    });
    // Far longer than it takes to write what a worker keeps.
    arena.take_for(Duration::from_millis(500));
    assert!(!writing.is_finished());
    arena.worker.send(&Command::Cpus(2), &[]);
    arena.take_until("it ends", |a| a.ends.contains_key(&run));
    writing.join().expect("all was written");
    assert_eq!(arena.outcome(run), &Outcome::Exited(0));
    assert_eq!(arena.output[&run].len(), BYTES);
    arena.finish();
}

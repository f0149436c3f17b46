//! Workers in virtual time: CPUs that run what the scheduler picks, slices that end, and VMs
//! that compute, sleep and flap.

use super::*;

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, range: std::ops::Range<u64>) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (z ^ (z >> 31)) % (range.end - range.start)
    }
}

/// What a VM does: computes for a time, then idles for a time; both in microseconds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Computes.
    Hog,
    /// Idles for long, computes for a moment.
    Sleeper,
    /// Computes for this long, then idles for this long.
    Flapper(u64, u64),
}

#[derive(Debug)]
struct Simulated {
    kind: Kind,
    /// Computing left before it idles.
    left: Duration,
    used: Duration,
    /// Since when it wants a CPU.
    wants: Instant,
    latency_max: Duration,
}

struct World {
    scheduler: Scheduler,
    now: Instant,
    dice: Dice,
    vms: Vec<Simulated>,
    /// What each CPU runs, and since when.
    cpus: Vec<Option<(VmKey, Instant)>>,
}

const STEP: Duration = Duration::from_micros(100);

impl World {
    fn new(cpus: u32, seed: u64, kinds: impl IntoIterator<Item = Kind>) -> Self {
        let mut world = Self {
            scheduler: Scheduler::new(cpus),
            now: at(0),
            dice: Dice(seed),
            vms: Vec::new(),
            cpus: vec![None; cpus as usize],
        };
        kinds.into_iter().for_each(|kind| world.add(kind));
        world
    }

    fn add(&mut self, kind: Kind) {
        self.scheduler.add(key(self.vms.len() as u64), self.now);
        let left = self.work(kind);
        self.vms.push(Simulated { kind, left, used: ms(0), wants: self.now, latency_max: ms(0) });
    }

    fn work(&mut self, kind: Kind) -> Duration {
        match kind {
            Kind::Hog => Duration::MAX,
            Kind::Sleeper => Duration::from_micros(self.dice.roll(100..600)),
            Kind::Flapper(work, _) => Duration::from_micros(work),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        for vm in self.scheduler.due(self.now) {
            self.vms[vm.0 as usize].wants = self.now;
        }
        let excess: Vec<VmKey> = self.scheduler.excess().collect();
        for place in 0..self.cpus.len() {
            if let Some((vm, since)) = self.cpus[place] {
                let used = self.now - since;
                if self.vms[vm.0 as usize].left <= used {
                    self.idle(vm, used);
                    self.cpus[place] = None;
                } else if used >= SLICE || excess.contains(&vm) {
                    self.leave(vm, used);
                    self.scheduler.yielded(vm, used, self.now);
                    self.cpus[place] = None;
                }
            }
        }
        for place in 0..self.cpus.len() {
            if self.cpus[place].is_none()
                && let Some(vm) = self.scheduler.pick(self.now)
            {
                let simulated = &mut self.vms[vm.0 as usize];
                simulated.latency_max = simulated.latency_max.max(self.now - simulated.wants);
                self.cpus[place] = Some((vm, self.now));
            }
        }
        let free = self.cpus.iter().filter(|cpu| cpu.is_none()).count();
        assert!(free == 0 || !self.scheduler.has_waiting() || self.scheduler.running() == self.scheduler.cpus);
        self.now += STEP;
    }

    fn idle(&mut self, vm: VmKey, used: Duration) {
        self.leave(vm, used);
        let kind = self.vms[vm.0 as usize].kind;
        let idle = match kind {
            Kind::Hog => unreachable!("a hog's work has no end"),
            Kind::Sleeper => self.dice.roll(50_000..200_000),
            Kind::Flapper(_, idle) => idle,
        };
        self.vms[vm.0 as usize].left = self.work(kind);
        self.scheduler.idle(vm, Some(self.now + Duration::from_micros(idle)), used, self.now);
    }

    fn leave(&mut self, vm: VmKey, used: Duration) {
        let simulated = &mut self.vms[vm.0 as usize];
        simulated.used += used;
        simulated.left = simulated.left.saturating_sub(used);
        simulated.wants = self.now;
    }

    /// What each VM of a kind used up to now.
    fn used(&self, kind: fn(&Kind) -> bool) -> Vec<Duration> {
        let running = |n: usize| self.cpus.iter().flatten().find(|(vm, _)| vm.0 == n as u64);
        let used = |(n, vm): (usize, &Simulated)| vm.used + running(n).map_or(ms(0), |(_, since)| self.now - *since);
        self.vms.iter().enumerate().filter(|(_, vm)| kind(&vm.kind)).map(used).collect()
    }
}

fn spread(used: &[Duration]) -> Duration {
    used.iter().max().unwrap().saturating_sub(*used.iter().min().unwrap())
}

fn is_hog(kind: &Kind) -> bool {
    matches!(kind, Kind::Hog)
}

/// Hundreds of sleepers beside hogs: each is served within about a slice, and the hogs share the rest equally.
#[test]
fn sleepers_run_soon_and_hogs_share_equally() {
    for (cpus, seed) in [(1, 1), (2, 2), (4, 3), (7, 4)] {
        let hogs = (0..3 * u64::from(cpus) + 1).map(|_| Kind::Hog);
        let sleepers = (0..60 * cpus).map(|_| Kind::Sleeper);
        let mut world = World::new(cpus, seed, hogs.chain(sleepers));
        // The first round, in which all are new, is another matter.
        world.run(ms(1_000));
        world.vms.iter_mut().for_each(|vm| vm.latency_max = ms(0));
        let before = world.used(is_hog);
        world.run(ms(10_000));
        let latency = world.vms.iter().filter(|vm| !is_hog(&vm.kind)).map(|vm| vm.latency_max).max().unwrap();
        assert!(latency <= SLICE + ms(10), "{cpus} CPUs: {latency:?}");
        let used = world.used(is_hog);
        let used: Vec<Duration> = used.iter().zip(before).map(|(now, before)| *now - before).collect();
        assert!(spread(&used) <= 2 * SLICE, "{cpus} CPUs: {used:?}");
        assert!(used[0] > ms(1_000), "{used:?}");
    }
}

/// Where hogs mostly have a CPU each, they run on past their slices; that counts as well.
#[test]
fn hogs_that_are_seldom_interrupted_share_equally() {
    for seed in 0..8 {
        let others = std::iter::repeat_n(Kind::Sleeper, 15).chain([Kind::Flapper(16_301, 40_001)]);
        let mut world = World::new(2, seed, [Kind::Hog, Kind::Hog].into_iter().chain(others));
        world.run(ms(5_000));
        let used = world.used(is_hog);
        assert!(spread(&used) <= 2 * SLICE, "{used:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the others do, over any time: hogs differ by three slices at the most (what one was ahead before, what the
    /// other is now, and what runs), and none that idles now and then gets more than they do, but for its credit.
    #[test]
    fn shares_are_fair(
        seed in any::<u64>(),
        cpus in 1..4_u32,
        hogs in 1..6_usize,
        flappers in prop::collection::vec((100..60_000_u64, 100..60_000_u64), 0..12),
        sleepers in 0..20_usize,
        lease in 0..5_u32,
    ) {
        let flappers = flappers.into_iter().map(|(work, idle)| Kind::Flapper(work, idle));
        let others = std::iter::repeat_n(Kind::Sleeper, sleepers).chain(flappers);
        let mut world = World::new(cpus, seed, std::iter::repeat_n(Kind::Hog, hogs).chain(others));
        let all = |_: &Kind| true;
        let mut before = world.used(all);
        for round in 0..40 {
            world.run(ms(50));
            let used: Vec<Duration> = world.used(all).iter().zip(&before).map(|(now, then)| *now - *then).collect();
            let hogs = &used[..hogs];
            prop_assert!(spread(hogs) <= 3 * SLICE, "{hogs:?}");
            let least = *hogs.iter().min().unwrap();
            for (vm, used) in used.iter().enumerate() {
                prop_assert!(*used <= least + 4 * SLICE, "VM {vm}: {used:?}, a hog {least:?}");
            }
            // The lease changes, and from then on it is the same again.
            if round % 20 == 10 {
                world.scheduler.set_cpus(lease.min(cpus));
                world.run(ms(300));
                before = world.used(all);
            }
        }
    }
}

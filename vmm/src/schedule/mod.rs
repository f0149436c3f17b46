//! Which VM of a worker runs next. No threads, no clock, no KVM: what happened and the time go in, decisions come out.
//!
//! Fair queueing by virtual time: each VM's counts the CPU time it used, and of those that wait the one with the least
//! runs next (ties go by key). The *clock* is the latest virtual time at which a VM was picked, or, while none waits, the
//! least that a running one has come to. It ties the VMs down:
//!
//! - Who becomes runnable is at most [`CREDIT`] behind the clock. So a VM that idled goes before those that computed
//!   meanwhile: Denali's reward for idling. Its own virtual time never goes back, so flapping earns nothing.
//! - Who leaves its CPU is at most [`LEAD`] ahead of the clock. So no one waits for others to catch up with what it used
//!   while no one else wanted it, or with what the host took from them.
//! - A new VM starts where the last ones left, not before the clock. So a stream of short jobs gets what as many long ones
//!   would get, and who waits is passed by so many at the most.
//!
//! Every operation costs the logarithm of the number of VMs, for the clock a look at each CPU, and to pick one a look at those
//! that may not. Nothing is kept of a VM
//! that was removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long a VM may run while another one waits.
pub(crate) const SLICE: Duration = Duration::from_millis(20);

/// How far a VM that becomes runnable may be behind the clock.
const CREDIT: Duration = SLICE;

/// What a run is charged at the least: to enter and leave a VM costs too, and it bounds how often one is passed by.
const CHARGE_LEAST: Duration = Duration::from_micros(50);

/// How far a VM that leaves its CPU may be ahead of the clock: a slice, and as much again for who was told late.
const LEAD: Duration = Duration::from_millis(40);

/// Names a VM. Chosen by the caller, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct VmKey(pub(crate) u64);

/// What a VM does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It waits for a CPU.
    Runnable,
    /// It has a CPU since then.
    Running(Instant),
    /// It wants no CPU.
    Idle {
        /// Since then.
        since: Instant,
        /// Until it is woken, or until then.
        until: Option<Instant>,
    },
}

#[derive(Debug)]
struct Vm {
    virtual_time: Duration,
    state: State,
}

/// The VMs of one worker.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    cpus: usize,
    vms: BTreeMap<VmKey, Vm>,
    /// By virtual time.
    runnable: BTreeSet<(Duration, VmKey)>,
    /// By the time at which they were picked.
    running: BTreeSet<(Instant, VmKey)>,
    /// Idle ones by the time at which they are to wake.
    timers: BTreeSet<(Instant, VmKey)>,
    /// Idle ones, not swapped out, by the time since when.
    resident: BTreeSet<(Instant, VmKey)>,
    clock: Duration,
    /// The latest virtual time at which a VM left.
    left_at: Duration,
}

impl Scheduler {
    /// No VMs, and so many CPUs to run them on.
    pub(crate) fn new(cpus: u32) -> Self {
        Self { cpus: cpus as usize, ..Self::default() }
    }

    /// From now on at most so many run at once. If more do, [`Self::excess`] names them.
    pub(crate) fn set_cpus(&mut self, cpus: u32) {
        self.cpus = cpus as usize;
    }

    /// A new VM, which wants to run.
    pub(crate) fn add(&mut self, key: VmKey, now: Instant) {
        if !self.vms.contains_key(&key) {
            self.turn_clock(now);
            self.queue(key, self.clock.max(self.left_at));
        }
    }

    /// Takes a VM out, whatever it does. If it ran, it has left its CPU after it `used` so much time since it was picked.
    pub(crate) fn remove(&mut self, key: VmKey, used: Duration, now: Instant) {
        let left_at = self.stop(key, used, now).or_else(|| self.take(key).map(|vm| vm.virtual_time));
        self.left_at = self.left_at.max(left_at.unwrap_or_default());
    }

    /// The next VM to run of those that `may`, if there is a CPU for one.
    pub(crate) fn pick_of(&mut self, now: Instant, may: impl Fn(VmKey) -> bool) -> Option<VmKey> {
        if self.running.len() >= self.cpus {
            return None;
        }
        let (virtual_time, key) = *self.runnable.iter().find(|(_, key)| may(*key))?;
        self.take(key);
        self.clock = self.clock.max(virtual_time);
        self.put(key, Vm { virtual_time, state: State::Running(now) });
        Some(key)
    }

    /// A running VM gave up its CPU after it `used` so much time, and wants to run on.
    pub(crate) fn yielded(&mut self, key: VmKey, used: Duration, now: Instant) {
        if let Some(virtual_time) = self.stop(key, used, now) {
            self.queue(key, virtual_time);
        }
    }

    /// A running VM gave up its CPU after it `used` so much time, until it is woken or until that time. Who could wake it
    /// must not be let in between the last look for a reason and this call: a wake of a running VM does nothing.
    pub(crate) fn idle(&mut self, key: VmKey, until: Option<Instant>, used: Duration, now: Instant) {
        if let Some(virtual_time) = self.stop(key, used, now) {
            self.put(key, Vm { virtual_time, state: State::Idle { since: now, until } });
        }
    }

    /// An idle VM wants to run. `false`, and nothing happens, if it does not idle.
    pub(crate) fn wake(&mut self, key: VmKey, now: Instant) -> bool {
        self.turn_clock(now);
        let idles = matches!(self.state(key), Some(State::Idle { .. }));
        if idles && let Some(vm) = self.take(key) {
            self.queue(key, vm.virtual_time);
        }
        idles
    }

    /// Wakes the idle VMs whose time has come, and names them.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<VmKey> {
        let due: Vec<VmKey> = self.timers.iter().take_while(|(until, _)| *until <= now).map(|(_, key)| *key).collect();
        for key in &due {
            self.wake(*key, now);
        }
        due
    }

    /// When the next idle VM's time comes.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(until, _)| *until)
    }

    /// Running VMs that have to give up their CPU now, for there is none for them any more; the longest running first.
    /// Named again until they have.
    pub(crate) fn excess(&self) -> impl Iterator<Item = VmKey> {
        let excess = self.running.len().saturating_sub(self.cpus);
        self.running.iter().take(excess).map(|(_, key)| *key)
    }

    /// Whether a VM waits for a CPU.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// Of the `looks` VMs that idle longest and are not swapped out, those that are not to wake before `until`; the
    /// longest idle first. One that is passed over wakes soon, and is out of the way then.
    pub(crate) fn longest_idle(&self, until: Instant, looks: usize) -> impl Iterator<Item = VmKey> {
        self.resident.iter().take(looks).map(|(_, key)| *key).filter(move |key| match self.state(*key) {
            Some(State::Idle { until: Some(time), .. }) => time >= until,
            _ => true,
        })
    }

    /// Of the VMs that wait for a CPU, the `looks` whose turns come last; the very last first.
    pub(crate) fn latest_turns(&self, looks: usize) -> impl Iterator<Item = VmKey> {
        self.runnable.iter().rev().take(looks).map(|(_, key)| *key)
    }

    /// The VMs that have a CPU.
    pub(crate) fn on_cpus(&self) -> impl Iterator<Item = VmKey> {
        self.running.iter().map(|(_, key)| *key)
    }

    /// An idle VM is swapped out: [`Self::longest_idle`] does not name it again before it has run.
    pub(crate) fn swapped(&mut self, key: VmKey) {
        if let Some(State::Idle { since, .. }) = self.state(key) {
            self.resident.remove(&(since, key));
        }
    }

    /// An idle VM was not swapped out after all: [`Self::longest_idle`] names it again.
    pub(crate) fn stays(&mut self, key: VmKey) {
        if let Some(State::Idle { since, .. }) = self.state(key) {
            self.resident.insert((since, key));
        }
    }

    /// What a VM does; `None` for one that is not here.
    pub(crate) fn state(&self, key: VmKey) -> Option<State> {
        self.vms.get(&key).map(|vm| vm.state)
    }

    /// VMs that wait for a CPU.
    pub(crate) fn runnable(&self) -> usize {
        self.runnable.len()
    }

    /// VMs that have a CPU.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// VMs that idle.
    pub(crate) fn idling(&self) -> usize {
        self.vms.len() - self.runnable.len() - self.running.len()
    }

    /// Takes a running VM from its CPU, and says its virtual time then.
    fn stop(&mut self, key: VmKey, used: Duration, now: Instant) -> Option<Duration> {
        if !matches!(self.state(key), Some(State::Running(_))) {
            return None;
        }
        self.turn_clock(now);
        self.take(key).map(|vm| (vm.virtual_time + used.max(CHARGE_LEAST)).min(self.clock + LEAD))
    }

    /// While VMs wait, those that are picked turn the clock; while none does, those that run.
    fn turn_clock(&mut self, now: Instant) {
        if self.runnable.is_empty() {
            let reached = |(since, key): &(Instant, VmKey)| {
                let picked_at = self.vms.get(key).map_or(Duration::ZERO, |vm| vm.virtual_time);
                picked_at + now.saturating_duration_since(*since)
            };
            self.clock = self.clock.max(self.running.iter().map(reached).min().unwrap_or_default());
        }
    }

    fn queue(&mut self, key: VmKey, virtual_time: Duration) {
        let virtual_time = virtual_time.max(self.clock.saturating_sub(CREDIT));
        self.put(key, Vm { virtual_time, state: State::Runnable });
    }

    fn put(&mut self, key: VmKey, vm: Vm) {
        match vm.state {
            State::Runnable => {
                self.runnable.insert((vm.virtual_time, key));
            }
            State::Running(since) => {
                self.running.insert((since, key));
            }
            State::Idle { since, until } => {
                self.resident.insert((since, key));
                self.timers.extend(until.map(|until| (until, key)));
            }
        }
        self.vms.insert(key, vm);
    }

    fn take(&mut self, key: VmKey) -> Option<Vm> {
        let vm = self.vms.remove(&key)?;
        match vm.state {
            State::Runnable => {
                self.runnable.remove(&(vm.virtual_time, key));
            }
            State::Running(since) => {
                self.running.remove(&(since, key));
            }
            State::Idle { since, until } => {
                self.resident.remove(&(since, key));
                if let Some(until) = until {
                    self.timers.remove(&(until, key));
                }
            }
        }
        Some(vm)
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

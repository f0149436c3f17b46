//! What is believed of one worker: what it says of its VMs, as far as that can be, and the time that its process took.
//!
//! A worker may say any number. None of them is used for more than to divide CPUs between workers of one client, and to be
//! shown; so they are cut to what this machine could have done at most, and what only grows never falls.

use crate::{node::shares::host_cpus, worker::Worker};
use denali_protocol::job::Exits;
use denali_vmm::worker::{
    cpu_time_of,
    message::{Counts, Histogram, Status},
};
use std::time::{Duration, Instant};

/// How long a process's time is not looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// The most that one worker can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// VMs.
    pub(crate) vms: u32,
    /// Memory, in KiB.
    pub(crate) memory_kib: u64,
    /// Disk, in bytes.
    pub(crate) swap_bytes: u64,
}

/// What is known of one worker.
#[derive(Debug)]
pub(crate) struct Tally {
    since: Instant,
    status: Status,
    /// CPU time of runs that ended.
    ended_cpu_us: u64,
    /// CPU time of its process.
    process_cpu_us: u64,
    looked: Option<Instant>,
}

impl Tally {
    /// Of a worker that starts now.
    pub(crate) fn new(since: Instant) -> Self {
        Self { since, status: Status::default(), ended_cpu_us: 0, process_cpu_us: 0, looked: None }
    }

    /// What it said last.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// Runs that want no CPU.
    pub(crate) fn at_rest(&self) -> u32 {
        self.status.idle.saturating_add(self.status.swapped)
    }

    /// It says how its VMs are.
    pub(crate) fn learn(&mut self, said: &Status, bounds: Bounds, now: Instant) {
        // At most one event a microsecond on each CPU.
        let passed = u64::try_from(now.saturating_duration_since(self.since).as_micros()).unwrap_or(u64::MAX);
        let most = passed.saturating_mul(u64::from(host_cpus()));
        let mut counts = std::mem::take(&mut self.status.counts);
        merge(&mut counts, &said.counts, |known, said| known.max(said.min(most)));
        self.status = Status {
            runnable: said.runnable.min(bounds.vms),
            running: said.running.min(bounds.vms),
            idle: said.idle.min(bounds.vms),
            swapped: said.swapped.min(bounds.vms),
            memory_kib: said.memory_kib.min(bounds.memory_kib),
            swap_bytes: said.swap_bytes.min(bounds.swap_bytes),
            counts,
        };
    }

    /// A run ended that took so much CPU time.
    pub(crate) fn ended(&mut self, cpu_us: u64) {
        self.ended_cpu_us = self.ended_cpu_us.saturating_add(cpu_us);
    }

    /// Looks how much CPU time its process took, now and then.
    pub(crate) fn look_at(&mut self, worker: &Worker, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK) {
            return;
        }
        self.looked = Some(now);
        let time = worker.pid().and_then(cpu_time_of).unwrap_or_default();
        self.process_cpu_us = self.process_cpu_us.max(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// CPU time that it took. A process that ended on its own took some that nobody saw, and its runs told of theirs.
    pub(crate) fn cpu_us(&self) -> u64 {
        self.process_cpu_us.max(self.ended_cpu_us)
    }
}

/// Adds what happened in one worker to what happened in others.
pub(crate) fn add(total: &mut Counts, counts: &Counts) {
    merge(total, counts, u64::saturating_add);
}

/// Joins two counts, number by number.
fn merge(into: &mut Counts, from: &Counts, join: impl Fn(u64, u64) -> u64) {
    // By their names, so that one that is added is not forgotten here.
    let Counts {
        turns,
        new,
        ready,
        reimaged,
        copies,
        ended,
        swapped_out,
        swapped_in,
        swap_failures,
        exits,
        start,
        wake,
        swap_in,
        swap_out,
    } = from;
    let Exits { idle, terminate, protect, checkpoint, fault, interrupted, kicks } = exits;
    for (into, from) in [
        (&mut into.turns, turns),
        (&mut into.new, new),
        (&mut into.ready, ready),
        (&mut into.reimaged, reimaged),
        (&mut into.copies, copies),
        (&mut into.ended, ended),
        (&mut into.swapped_out, swapped_out),
        (&mut into.swapped_in, swapped_in),
        (&mut into.swap_failures, swap_failures),
        (&mut into.exits.idle, idle),
        (&mut into.exits.terminate, terminate),
        (&mut into.exits.protect, protect),
        (&mut into.exits.checkpoint, checkpoint),
        (&mut into.exits.fault, fault),
        (&mut into.exits.interrupted, interrupted),
        (&mut into.exits.kicks, kicks),
    ] {
        *into = join(*into, *from);
    }
    let histograms = [
        (&mut into.start, start),
        (&mut into.wake, wake),
        (&mut into.swap_in, swap_in),
        (&mut into.swap_out, swap_out),
    ];
    for (Histogram(into), Histogram(from)) in histograms {
        into.iter_mut().zip(from).for_each(|(into, from)| *into = join(*into, *from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { vms: 200, memory_kib: 1 << 20, swap_bytes: 1 << 30 };

    #[test]
    fn absurd_numbers_are_cut_and_counts_only_grow() {
        let since = Instant::now();
        let mut tally = Tally::new(since);
        let most = u64::MAX;
        let counts = Counts { new: most, start: Histogram([most; 32]), ..Counts::default() };
        let many = u32::MAX;
        let said = Status {
            runnable: many,
            running: many,
            idle: many,
            swapped: many,
            memory_kib: most,
            swap_bytes: most,
            counts,
        };
        tally.learn(&said, BOUNDS, since + Duration::from_millis(5));
        let believed = tally.status().clone();
        assert_eq!((believed.runnable, believed.running, believed.idle, believed.swapped), (200, 200, 200, 200));
        assert_eq!((believed.memory_kib, believed.swap_bytes), (1 << 20, 1 << 30));
        let possible = 5000 * u64::from(host_cpus());
        assert_eq!((believed.counts.new, believed.counts.start.0), (possible, [possible; 32]));
        // It does not take back what it said.
        tally.learn(&Status::default(), BOUNDS, since + Duration::from_secs(1));
        assert_eq!(tally.status().counts, believed.counts);
        assert_eq!(tally.at_rest(), 0);
        let mut total = Counts { new: most - 1, ..Counts::default() };
        add(&mut total, &believed.counts);
        assert_eq!((total.new, total.start), (most, believed.counts.start));
    }
}

//! VMs that share less memory than they need: how long those on disk take to answer, and what they keep of memory.

use super::zipf;
use crate::cli::{distribution::Distribution, fleet::Fleet, units};
use anyhow::ensure;
use serde::Serialize;

/// VMs under a budget.
#[derive(Serialize)]
pub(super) struct Swap {
    pub(super) memory_bytes: u64,
    /// What the host's memory lost while the budget held.
    pub(super) used_bytes: u64,
    /// VMs on disk when all had been made.
    pub(super) asleep: u32,
    /// Packets to each VM in turn, so that the one meant is always the one that was used longest ago.
    pub(super) turn_answered: u32,
    pub(super) turn_woken_from_disk: u64,
    pub(super) wake_p50_us: u64,
    pub(super) wake_p99_us: u64,
    /// Packets to VMs that are in memory.
    pub(super) awake_p50_us: u64,
    pub(super) awake_p99_us: u64,
    /// Packets to VMs chosen by Zipf's law.
    pub(super) zipf_requests: u32,
    pub(super) zipf_answered: u32,
    pub(super) zipf_distinct: usize,
    pub(super) zipf_per_s: u64,
    pub(super) zipf_p50_us: u64,
    pub(super) zipf_p99_us: u64,
    /// Memory that a VM on disk keeps.
    pub(super) asleep_bytes: u64,
    /// How each kind of latency is distributed, for the plot.
    #[serde(skip)]
    pub(super) latencies: Latencies,
}

/// From packet to answer, in µs.
pub(super) struct Latencies {
    /// VMs in turn, so that each comes from disk.
    pub(super) turn: Distribution,
    /// VMs in memory.
    pub(super) awake: Distribution,
    /// VMs by Zipf's law.
    pub(super) zipf: Distribution,
}

/// Packets to all VMs in turn, to those in memory, and by Zipf's law; then all VMs go to disk. All of them were made under a
/// budget of `memory_bytes`, and took `used_bytes`.
pub(super) async fn measure(fleet: &mut Fleet, vms: u32, memory_bytes: u64, used_bytes: u64) -> anyhow::Result<Swap> {
    fleet.settle().await?;
    let asleep = fleet.total(|status| status.swapped.into()) as u32;

    let from_disk = fleet.total(|status| status.counts.swapped_in);
    let mut turn = Vec::new();
    for vm in 0..vms {
        turn.push(units::micros(fleet.ask_one(vm).await?));
    }
    fleet.settle().await?;
    let turn_woken_from_disk = fleet.total(|status| status.counts.swapped_in) - from_disk;
    let turn_answered = turn.len() as u32;
    let turn = Distribution::of(turn);
    let mut awake = Vec::new();
    for vm in fleet.lately_used() {
        awake.push(units::micros(fleet.ask_one(vm).await?));
    }
    let awake = Distribution::of(awake);
    let zipf = zipf::load(fleet, vms, vms.saturating_mul(2)).await?;

    // All of them to disk.
    fleet.bound(|_| 0)?;
    let mut asleep_now = 0;
    for _ in 0..60 {
        fleet.settle().await?;
        asleep_now = fleet.total(|status| status.swapped.into());
        if asleep_now >= u64::from(vms) {
            break;
        }
    }
    ensure!(asleep_now > 0, "no VM went to disk");
    let kept = fleet.anonymous_bytes().await?;
    Ok(Swap {
        memory_bytes,
        used_bytes,
        asleep,
        turn_answered,
        turn_woken_from_disk,
        wake_p50_us: turn.median(),
        wake_p99_us: turn.percentile(99),
        awake_p50_us: awake.median(),
        awake_p99_us: awake.percentile(99),
        zipf_requests: zipf.requests,
        zipf_answered: zipf.answered,
        zipf_distinct: zipf.distinct,
        zipf_per_s: zipf.per_s,
        zipf_p50_us: zipf.latencies.median(),
        zipf_p99_us: zipf.latencies.percentile(99),
        asleep_bytes: kept / asleep_now,
        latencies: Latencies { turn, awake, zipf: zipf.latencies },
    })
}

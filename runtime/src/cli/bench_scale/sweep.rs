//! What less and less memory does to VMs: those that a load by Zipf's law asks again soon enough stay in memory, the others
//! come from disk.

use super::zipf;
use crate::cli::fleet::Fleet;
use serde::Serialize;

/// A budget that bounds nothing, under which workers measure what VMs take.
pub(super) const MEASURED: u64 = u64::MAX / 2;

/// Percent of the memory that all VMs need.
const BUDGETS: [u32; 5] = [100, 75, 50, 25, 10];

/// Half a second each, at most, for VMs to go to disk after a budget shrank.
const PATIENCE: u32 = 60;

/// One budget.
#[derive(Serialize)]
pub(super) struct Budget {
    /// Of what all VMs need.
    pub(super) percent: u32,
    pub(super) memory_bytes: u64,
    /// VMs on disk before the load.
    pub(super) asleep: u32,
    pub(super) requests: u32,
    pub(super) answered: u32,
    /// VMs brought back during the load.
    pub(super) from_disk: u64,
    pub(super) per_s: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// Repeats the load under each budget. The VMs were made under [`MEASURED`].
pub(super) async fn measure(fleet: &mut Fleet, vms: u32) -> anyhow::Result<Vec<Budget>> {
    fleet.settle().await?;
    let needs: Vec<u64> = fleet.status().iter().map(|status| status.memory_kib * 1024).collect();
    let mut sweep = Vec::new();
    for percent in BUDGETS {
        let share = |number: usize| needs[number] / 100 * u64::from(percent);
        fleet.bound(share)?;
        let asleep = rest(fleet).await?;
        // Not measured: it brings those into memory that are asked often.
        zipf::load(fleet, vms, vms).await?;
        fleet.settle().await?;
        let before = fleet.total(|status| status.counts.swapped_in);
        let load = zipf::load(fleet, vms, vms.saturating_mul(2)).await?;
        fleet.settle().await?;
        sweep.push(Budget {
            percent,
            memory_bytes: (0..needs.len()).map(share).sum(),
            asleep,
            requests: load.requests,
            answered: load.answered,
            from_disk: fleet.total(|status| status.counts.swapped_in) - before,
            per_s: load.per_s,
            p50_us: load.latencies.median(),
            p99_us: load.latencies.percentile(99),
        });
    }
    Ok(sweep)
}

/// Waits until no more VMs go to disk. Gives how many are there.
async fn rest(fleet: &mut Fleet) -> anyhow::Result<u32> {
    let mut asleep = None;
    for _ in 0..PATIENCE {
        fleet.settle().await?;
        let now = fleet.total(|status| status.swapped.into()) as u32;
        if asleep.replace(now) == Some(now) {
            break;
        }
    }
    Ok(asleep.unwrap_or(0))
}

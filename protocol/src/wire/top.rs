//! What a node does at one moment, and has done since its start. Its own word, for people to look at: nothing here is
//! signed.

use crate::{identity::PublicKey, job::Exits};
use serde::{Deserialize, Serialize};

/// A node at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Top {
    /// Time since its start, in microseconds. All that counts below counts from there.
    pub uptime_us: u64,
    /// VMs that it runs at once.
    pub slots: u32,
    /// CPUs that run them.
    pub cpus: u32,
    /// Clients that have jobs here.
    pub clients: u32,
    /// All clients together.
    pub all: Share,
    /// Memory for VMs, in bytes.
    pub memory_bytes: u64,
    /// Disk for VMs that idle, in bytes.
    pub swap_bytes: u64,
    /// How VMs were started.
    pub starts: Starts,
    /// What became of VMs that idled.
    pub swaps: Swaps,
    /// Exits of VMs that ended, by kind.
    pub exits: Exits,
    /// From a job's command to its VM's first instruction.
    pub start: Durations,
    /// From the event that wakes an idle VM to its next instruction.
    pub wake: Durations,
    /// To bring a VM back from disk, a part of that.
    pub swap_in: Durations,
    /// To swap one out.
    pub swap_out: Durations,
    /// The client that asks.
    pub own: Share,
    /// To an operator: the clients, at most [`crate::limits::TOP_CLIENTS`], those that used the most CPU time first.
    pub by_client: Option<Vec<(PublicKey, Share)>>,
}

/// What one client has of a node, or all together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Share {
    /// Worker processes.
    pub workers: u32,
    /// VMs that want a CPU and have none.
    pub runnable: u64,
    /// VMs that have one.
    pub running: u64,
    /// VMs that idle in memory.
    pub idle: u64,
    /// VMs that idle on disk.
    pub swapped: u64,
    /// Memory of VMs, in bytes.
    pub memory_bytes: u64,
    /// Disk of VMs that idle, in bytes.
    pub swap_bytes: u64,
    /// CPU time used, in microseconds.
    pub cpu_us: u64,
    /// Jobs that wait.
    pub jobs_queued: u32,
    /// Jobs that were given to a worker and have not ended.
    pub jobs_running: u32,
    /// Jobs that ended.
    pub jobs_ended: u64,
    /// Of these, such as were lost.
    pub jobs_lost: u64,
}

/// How VMs were started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Starts {
    /// Made for their job.
    pub new: u64,
    /// Made before they were needed.
    pub ready: u64,
    /// Had earlier jobs, and were put back to their start.
    pub reimaged: u64,
}

/// What became of VMs that idled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Swaps {
    /// Swapped out.
    pub out: u64,
    /// Brought back.
    pub back: u64,
    /// Lost to a full or broken disk.
    pub failed: u64,
}

/// Durations, counted by powers of two: place `n` counts those of 2ⁿ⁻¹ to 2ⁿ - 1 µs, place 0 those below 1 µs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Durations(pub [u64; 32]);

impl Durations {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().copied().fold(0, u64::saturating_add)
    }

    /// Those that came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut places = self.0;
        places.iter_mut().zip(earlier.0).for_each(|(place, earlier)| *place = place.saturating_sub(earlier));
        Self(places)
    }

    /// What so many thousandths of them stay within, in microseconds; nothing where there are none. Within a place they
    /// count as spread evenly.
    #[must_use]
    pub fn quantile_us(&self, permille: u64) -> Option<u64> {
        let count = u128::from(self.count());
        let wanted = (count * u128::from(permille.min(1000))).div_ceil(1000).max(1);
        let mut before = 0;
        for (place, held) in self.0.iter().map(|held| u128::from(*held)).enumerate() {
            if held > 0 && before + held >= wanted {
                let lowest = if place == 0 { 0 } else { 1_u128 << (place - 1) };
                let within = lowest.max(1) * (wanted - before) / held;
                return u64::try_from(lowest + within).ok();
            }
            before += held;
        }
        None
    }
}

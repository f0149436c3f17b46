//! Packets to VMs chosen by Zipf's law: a few VMs get most of them, as with servers in the world.

use crate::cli::{
    distribution::Distribution,
    fleet::{Fleet, PACKET_BYTES},
    units,
};
use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

/// Packets on their way at once.
const IN_FLIGHT: usize = 4;

/// What came of it.
pub(super) struct Zipf {
    /// Packets sent.
    pub(super) requests: u32,
    /// Packets answered.
    pub(super) answered: u32,
    /// VMs that got any.
    pub(super) distinct: usize,
    /// Packets a second.
    pub(super) per_s: u64,
    /// From packet to answer, in µs.
    pub(super) latencies: Distribution,
}

/// Sends so many packets, a few at a time.
pub(super) async fn load(fleet: &mut Fleet, vms: u32, requests: u32) -> anyhow::Result<Zipf> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let weights: Vec<f64> = (1..=vms)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / f64::from(rank);
            Some(*sum)
        })
        .collect();
    let all = weights.last().copied().unwrap_or(1.0);
    let mut asked: HashMap<u32, Vec<Instant>> = HashMap::new();
    let mut seen = HashSet::new();
    let mut latencies = Vec::new();
    let begun = Instant::now();
    let mut on_their_way = 0;
    for _ in 0..requests {
        let drawn = chance.next() * all;
        let place = weights.partition_point(|sum| *sum < drawn);
        // Ranks are spread over all workers.
        let vm = (place as u64 * 7919 % u64::from(vms)) as u32;
        seen.insert(vm);
        asked.entry(vm).or_default().push(Instant::now());
        fleet.ask(vm)?;
        on_their_way += 1;
        if on_their_way >= IN_FLIGHT {
            on_their_way -= note(fleet, &mut asked, &mut latencies).await?;
        }
    }
    while on_their_way > 0 {
        on_their_way -= note(fleet, &mut asked, &mut latencies).await?;
    }
    let answered = latencies.len() as u32;
    let per_s = (f64::from(requests) / begun.elapsed().as_secs_f64()) as u64;
    Ok(Zipf { requests, answered, distinct: seen.len(), per_s, latencies: Distribution::of(latencies) })
}

/// Takes an answer, which may be to several packets: the server gives each back. Gives to how many.
async fn note(
    fleet: &mut Fleet,
    asked: &mut HashMap<u32, Vec<Instant>>,
    latencies: &mut Vec<u64>,
) -> anyhow::Result<usize> {
    let answer = fleet.answer().await?;
    let asked = asked.entry(answer.vm).or_default();
    let packets = asked.len().min(answer.bytes / PACKET_BYTES);
    latencies.extend(asked.drain(..packets).map(|time| units::micros(time.elapsed())));
    Ok(packets)
}

/// A small generator (splitmix64), so that each run asks the same.
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

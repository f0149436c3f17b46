//! The two loads: packets to one VM in bursts, and requests to all VMs.

use crate::cli::fleet::{Fleet, Server};
use std::time::{Duration, Instant};

/// Packets sent at once to the one VM, so that several come with one interruption.
const BURST: usize = 32;
/// Requests to all VMs on their way at once.
const IN_FLIGHT: usize = 64;

/// What was answered a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Packets by one VM, alone.
    pub(super) packets: f64,
    /// Requests by all VMs together.
    pub(super) requests: f64,
}

/// Measures a server under both loads, each for so long, in VMs of its own.
pub(super) async fn measure(server: &Server, vms: u32, time: Duration) -> anyhow::Result<Rates> {
    let mut fleet = Fleet::start(vms, PER_WORKER).await?;
    fleet.create(0, server)?;
    fleet.ask_one(0).await?;
    let packets = packets(&mut fleet, time).await?;
    // All at once: VMs that never idle hold up each other's making.
    (1..vms).try_for_each(|vm| fleet.create(vm, server))?;
    fleet.ask_all(vms).await?;
    let requests = requests(&mut fleet, vms, time).await?;
    fleet.end().await;
    Ok(Rates { packets, requests })
}

/// VMs in one worker process.
const PER_WORKER: u32 = 200;

async fn packets(fleet: &mut Fleet, time: Duration) -> anyhow::Result<f64> {
    let (begun, mut answered) = (Instant::now(), 0);
    while begun.elapsed() < time {
        (0..BURST).try_for_each(|_| fleet.ask(0))?;
        let all = answered + BURST;
        while answered < all {
            answered += fleet.answer().await?.lines;
        }
    }
    Ok(answered as f64 / begun.elapsed().as_secs_f64())
}

async fn requests(fleet: &mut Fleet, vms: u32, time: Duration) -> anyhow::Result<f64> {
    let mut next = (0..vms).cycle();
    let mut ask = |fleet: &Fleet, requests| next.by_ref().take(requests).try_for_each(|vm| fleet.ask(vm));
    ask(fleet, IN_FLIGHT)?;
    let (begun, mut answered) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let lines = fleet.answer().await?.lines;
        answered += lines;
        ask(fleet, lines)?;
    }
    Ok(answered as f64 / begun.elapsed().as_secs_f64())
}

//! `denali bench scale`: many VMs at once, in memory and on disk.

use super::{
    distribution::Distribution,
    fleet::{Fleet, Server, available_bytes},
    host::Host,
    print,
    runtime::block_on,
    samples, units, wait,
};
use anyhow::ensure;
use serde::Serialize;
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Requests of the Zipf load on their way at once.
const IN_FLIGHT: usize = 4;

/// Measure many VMs at once: to make them, to hold them, to have each answer a packet, and to wake them from disk.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  denali bench scale --vms 10000\n  denali bench scale --vms 10000 --memory 1GiB\n  \
                        denali bench scale --vms 1000 --idle"
)]
pub(crate) struct Args {
    /// VMs.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vms: u32,
    /// Memory of each VM, as it sees it.
    #[arg(long, value_parser = units::bytes, default_value = "16MiB")]
    vm_memory: u64,
    /// Memory that they may take together; the rest waits on disk. Without it all are in memory.
    #[arg(long, value_parser = units::bytes)]
    memory: Option<u64>,
    /// Disk for those that wait.
    #[arg(long, value_parser = units::bytes, default_value = "8GiB")]
    swap: u64,
    /// Directory of that disk space.
    #[arg(long, default_value = "/var/tmp")]
    swap_directory: PathBuf,
    /// VMs in one worker process.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    per_worker: u32,
    /// Measure the CPU time that they use while they idle.
    #[arg(long)]
    idle: bool,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    vms: u32,
    workers: usize,
    /// VMs that answered a packet after all were made.
    answered: u32,
    /// To make a VM and have its first answer: medians of the first and the last tenth.
    create_first_us: u64,
    create_last_us: u64,
    last_to_first: f64,
    /// What the host's memory lost to all of it, for each VM.
    resident_kib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<Swap>,
    host: Host,
}

#[derive(Serialize)]
struct Idle {
    seconds: f64,
    /// CPU time of all workers, of one CPU.
    cpu_percent: f64,
}

#[derive(Serialize)]
struct Swap {
    memory_bytes: u64,
    /// What the host's memory lost while the budget held.
    used_bytes: u64,
    /// VMs on disk when all had been made.
    asleep: u32,
    /// Packets to each VM in turn, so that the one meant is always the one that was used longest ago.
    turn_answered: u32,
    turn_woken_from_disk: u64,
    wake_p50_us: u64,
    wake_p99_us: u64,
    /// Packets to VMs chosen by Zipf's law.
    zipf_requests: u32,
    zipf_answered: u32,
    zipf_distinct: usize,
    zipf_per_s: u64,
    zipf_p50_us: u64,
    zipf_p99_us: u64,
    /// Memory that a VM on disk keeps.
    asleep_bytes: u64,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let measured = block_on(measure(args))?;
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    let line = |what: &str, value: String| print::line(format!("{what:<34} {value}"));
    print::line(measured.host.to_string())?;
    line("VMs, worker processes", format!("{}, {}", measured.vms, measured.workers))?;
    line("answered a packet", measured.answered.to_string())?;
    let (first, last) = (measured.create_first_us, measured.create_last_us);
    line("to make one, first and last tenth", format!("{first} µs, {last} µs: {:.2} times", measured.last_to_first))?;
    if let Some(kib) = measured.resident_kib {
        line("memory for each", format!("{kib:.0} KiB"))?;
    }
    if let Some(idle) = &measured.idle {
        line("CPU while all idle", format!("{:.2} % of one, over {:.0} s", idle.cpu_percent, idle.seconds))?;
    }
    if let Some(swap) = &measured.swap {
        let mib = |bytes: u64| bytes >> 20;
        line("memory used", format!("{} of {} MiB", mib(swap.used_bytes), mib(swap.memory_bytes)))?;
        line("on disk after their making", swap.asleep.to_string())?;
        line("in turn: answered, from disk", format!("{}, {}", swap.turn_answered, swap.turn_woken_from_disk))?;
        line("  packet to answer", format!("{} µs, p99 {} µs", swap.wake_p50_us, swap.wake_p99_us))?;
        line("by Zipf's law: answered, of VMs", format!("{}, {}", swap.zipf_answered, swap.zipf_distinct))?;
        let zipf = format!("{} µs, p99 {} µs, {} a second", swap.zipf_p50_us, swap.zipf_p99_us, swap.zipf_per_s);
        line("  packet to answer", zipf)?;
        line("memory that one on disk keeps", format!("{} bytes", swap.asleep_bytes))?;
    }
    Ok(())
}

async fn measure(args: &Args) -> anyhow::Result<Measured> {
    let server = Server { content: samples::named("echo")?, arguments: Vec::new(), memory_bytes: args.vm_memory };
    let mut fleet = Fleet::start(args.vms, args.per_worker).await?;
    if let Some(memory) = args.memory {
        let share = memory / fleet.workers() as u64;
        fleet.bound(|_| share)?;
        fleet.swap_into(&args.swap_directory, args.swap)?;
    }
    let free_before = available_bytes()?;
    let bar = wait::bar(args.vms);
    let mut created = Vec::new();
    for vm in 0..args.vms {
        let begun = Instant::now();
        fleet.create(vm, &server)?;
        fleet.ask_one(vm).await?;
        created.push(units::micros(begun.elapsed()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let answered = fleet.ask_all(args.vms).await?;
    // What was made ahead and what is to be destroyed is: keepers have some time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = free_before.saturating_sub(available_bytes()?);
    let tenth = created.len().div_ceil(10);
    let create_first_us = Distribution::of(created[..tenth].to_vec()).median();
    let create_last_us = Distribution::of(created[created.len() - tenth..].to_vec()).median();
    let idle = if args.idle { Some(idle(&fleet).await?) } else { None };
    let swap = match args.memory {
        Some(memory) => Some(swap(&mut fleet, args, memory, used).await?),
        None => None,
    };
    Ok(Measured {
        vms: args.vms,
        workers: fleet.workers(),
        answered,
        create_first_us,
        create_last_us,
        last_to_first: create_last_us as f64 / create_first_us.max(1) as f64,
        resident_kib: args.memory.is_none().then(|| used as f64 / 1024.0 / f64::from(args.vms)),
        idle,
        swap,
        host: Host::describe(),
    })
}

async fn idle(fleet: &Fleet) -> anyhow::Result<Idle> {
    let (begun, before) = (Instant::now(), fleet.cpu_time()?);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = fleet.cpu_time()?.saturating_sub(before);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Idle { seconds, cpu_percent: used.as_secs_f64() / seconds * 100.0 })
}

async fn swap(fleet: &mut Fleet, args: &Args, memory: u64, used_bytes: u64) -> anyhow::Result<Swap> {
    fleet.settle().await?;
    let asleep = fleet.total(|status| status.swapped.into()) as u32;

    let from_disk = fleet.total(|status| status.counts.swapped_in);
    let mut turn = Vec::new();
    for vm in 0..args.vms {
        turn.push(units::micros(fleet.ask_one(vm).await?));
    }
    fleet.settle().await?;
    let turn_woken_from_disk = fleet.total(|status| status.counts.swapped_in) - from_disk;
    let turn_answered = turn.len() as u32;
    let turn = Distribution::of(turn);
    let zipf = zipf(fleet, args.vms).await?;

    // All of them to disk.
    fleet.bound(|_| 0)?;
    let mut asleep_now = 0;
    for _ in 0..60 {
        fleet.settle().await?;
        asleep_now = fleet.total(|status| status.swapped.into());
        if asleep_now >= u64::from(args.vms) {
            break;
        }
    }
    ensure!(asleep_now > 0, "no VM went to disk");
    let kept = fleet.anonymous_bytes().await?;
    Ok(Swap {
        memory_bytes: memory,
        used_bytes,
        asleep,
        turn_answered,
        turn_woken_from_disk,
        wake_p50_us: turn.median(),
        wake_p99_us: turn.percentile(99),
        zipf_requests: zipf.requests,
        zipf_answered: zipf.latencies.len() as u32,
        zipf_distinct: zipf.distinct,
        zipf_per_s: (f64::from(zipf.requests) / zipf.took.as_secs_f64()) as u64,
        zipf_p50_us: Distribution::of(zipf.latencies.clone()).median(),
        zipf_p99_us: Distribution::of(zipf.latencies).percentile(99),
        asleep_bytes: kept / asleep_now,
    })
}

async fn zipf(fleet: &mut Fleet, vms: u32) -> anyhow::Result<Zipf> {
    let requests = vms.saturating_mul(2);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let weights: Vec<f64> = (1..=vms)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / f64::from(rank);
            Some(*sum)
        })
        .collect();
    let all = weights.last().copied().unwrap_or(1.0);
    let mut asked: std::collections::HashMap<u32, Vec<Instant>> = std::collections::HashMap::new();
    let mut seen = std::collections::HashSet::new();
    let mut latencies = Vec::new();
    let begun = Instant::now();
    let mut on_their_way = 0;
    for _ in 0..requests {
        let place = weights.partition_point(|sum| *sum < chance.next() * all);
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
    Ok(Zipf { requests, latencies, distinct: seen.len(), took: begun.elapsed() })
}

/// Takes an answer, which may be to several packets. Gives to how many.
async fn note(
    fleet: &mut Fleet,
    asked: &mut std::collections::HashMap<u32, Vec<Instant>>,
    latencies: &mut Vec<u64>,
) -> anyhow::Result<usize> {
    let vm = fleet.answer().await?.vm;
    let times = asked.remove(&vm).unwrap_or_default();
    latencies.extend(times.iter().map(|time| units::micros(time.elapsed())));
    Ok(times.len())
}

struct Zipf {
    requests: u32,
    latencies: Vec<u64>,
    distinct: usize,
    took: Duration,
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

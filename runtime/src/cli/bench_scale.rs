//! `denali bench scale`: many VMs at once, in memory and on disk.

mod figure;
mod swap;
mod sweep;
mod zipf;

use super::{
    distribution::Distribution,
    fleet::{Fleet, Server, available_bytes, settled_available_bytes},
    host::Host,
    print,
    runtime::block_on,
    samples, units, wait,
};
use serde::Serialize;
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use swap::Swap;
use sweep::Budget;

/// Measure many VMs at once: to make them, to hold them, to have each answer a packet, and to wake them from disk.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  denali bench scale --vms 10000\n  denali bench scale --vms 10000 --memory 1GiB\n  \
                        denali bench scale --vms 1000 --idle\n  denali bench scale --sweep --plot sweep.svg"
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
    /// Measure how fast they answer when memory is short: with all that they need, and less and less of it.
    #[arg(long, conflicts_with_all = ["memory", "idle"])]
    sweep: bool,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
    /// Also draw the making of VMs, as SVG; with --memory how long answers take, with --sweep what memory does to that.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
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
    /// From all the memory that they need to little of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sweep: Vec<Budget>,
    host: Host,
    /// To make each, in µs.
    #[serde(skip)]
    created: Vec<u64>,
}

#[derive(Serialize)]
struct Idle {
    seconds: f64,
    /// CPU time of all workers, of one CPU.
    cpu_percent: f64,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let measured = block_on(measure(args))?;
    if let Some(path) = &args.plot {
        figure::draw(path, &measured)?;
    }
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
        line("in memory: packet to answer", format!("{} µs, p99 {} µs", swap.awake_p50_us, swap.awake_p99_us))?;
        let zipf = format!("{} µs, p99 {} µs, {} a second", swap.zipf_p50_us, swap.zipf_p99_us, swap.zipf_per_s);
        line("  packet to answer", zipf)?;
        line("memory that one on disk keeps", format!("{} bytes", swap.asleep_bytes))?;
    }
    for budget in &measured.sweep {
        let Budget { percent, memory_bytes, per_s, p50_us, p99_us, from_disk, .. } = budget;
        let what = format!("{percent} % of memory: {} MiB", memory_bytes >> 20);
        line(&what, format!("{per_s} a second, {p50_us} µs, p99 {p99_us} µs, {from_disk} from disk"))?;
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
    if args.sweep {
        fleet.bound(|_| sweep::MEASURED)?;
        fleet.swap_into(&args.swap_directory, args.swap)?;
    }
    let free_before = settled_available_bytes().await?;
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
        Some(memory) => Some(swap::measure(&mut fleet, args.vms, memory, used).await?),
        None => None,
    };
    let sweep = if args.sweep { sweep::measure(&mut fleet, args.vms).await? } else { Vec::new() };
    let workers = fleet.workers();
    fleet.end().await;
    Ok(Measured {
        vms: args.vms,
        workers,
        answered,
        create_first_us,
        create_last_us,
        last_to_first: create_last_us as f64 / create_first_us.max(1) as f64,
        resident_kib: args.memory.is_none().then(|| used as f64 / 1024.0 / f64::from(args.vms)),
        idle,
        swap,
        sweep,
        host: Host::describe(),
        created,
    })
}

async fn idle(fleet: &Fleet) -> anyhow::Result<Idle> {
    let (begun, before) = (Instant::now(), fleet.cpu_time()?);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = fleet.cpu_time()?.saturating_sub(before);
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Idle { seconds, cpu_percent: used.as_secs_f64() / seconds * 100.0 })
}

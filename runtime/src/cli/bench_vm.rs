//! `denali bench vm`: how long a VM takes, against an exit and a process start measured in the same run.

use super::{distribution::Distribution, host::Host, print, samples};
use anyhow::{Context, ensure};
use denali_protocol::job::Outcome;
use denali_samples::NATIVE_HELLO;
use denali_vmm::measure::{Program, Run};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// Measure VMs: an exit, a fresh VM, a process start, and computing in a VM against natively.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench vm --json")]
pub(crate) struct Args {
    /// Fresh VMs and processes to start, each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// Medians, but where a field says otherwise.
#[derive(Serialize)]
struct Measured {
    /// One `out` from CPL 3 to the VMM and back.
    exit_us: f64,
    /// A VM created, hello run in it, its output read, the VM destroyed.
    fresh_us: f64,
    fresh_p99_us: f64,
    /// `posix_spawn` and `wait` of a static C hello.
    process_us: f64,
    /// Least time in the VM over least time natively, for each computation.
    guest_to_native: BTreeMap<&'static str, f64>,
    host: Host,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let (fresh, process) = starts(args.rounds)?;
    let measured = Measured {
        exit_us: micros(exit_ns()?),
        fresh_us: micros(fresh.median()),
        fresh_p99_us: micros(fresh.percentile(99)),
        process_us: micros(process.median()),
        guest_to_native: computations()?,
        host: Host::describe(),
    };
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    let Measured { exit_us, fresh_us, fresh_p99_us, process_us, guest_to_native, host } = measured;
    print::line(host.to_string())?;
    print::line(format!("exit from CPL 3 and back    {exit_us:>8.1} µs"))?;
    print::line(format!("fresh VM, hello to the end  {fresh_us:>8.1} µs   p99 {fresh_p99_us:.1} µs"))?;
    print::line(format!("process, hello to the end   {process_us:>8.1} µs"))?;
    print::line(format!("a fresh VM takes {:.1} exits, {:.2} processes", fresh_us / exit_us, fresh_us / process_us))?;
    for (name, ratio) in guest_to_native {
        print::line(format!("{name:<27} {ratio:>8.3} × native time"))?;
    }
    Ok(())
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn program(name: &str) -> anyhow::Result<Program> {
    Ok(Program::prepare(&samples::named(name)?)?)
}

fn run(program: &Program, argument: &str) -> anyhow::Result<Run> {
    let (run, _) = program.run(&[argument.to_owned()], &[])?;
    ensure!(run.outcome == Outcome::Exited(0), "the sample {}", run.outcome);
    Ok(run)
}

/// The median over VMs of the mean over a thousand exits.
fn exit_ns() -> anyhow::Result<u64> {
    let program = program("exits")?;
    let mut measured = Vec::new();
    for _ in 0..9 {
        let output = String::from_utf8(run(&program, "1000")?.output)?;
        measured.push(output.trim().parse()?);
    }
    Ok(Distribution::of(measured).median())
}

/// Fresh VMs and processes in turn, so that both meet the same machine.
fn starts(rounds: u32) -> anyhow::Result<(Distribution, Distribution)> {
    let program = program("hello")?;
    let directory = tempfile::tempdir()?;
    let native = directory.path().join("hello");
    fs::write(&native, NATIVE_HELLO)?;
    fs::set_permissions(&native, fs::Permissions::from_mode(0o755))?;
    let (mut fresh, mut process) = (Vec::new(), Vec::new());
    // One of each first, not counted: caches are warm for both.
    for round in 0..=rounds {
        let vm = nanos(run(&program, "VM")?.total);
        let native = nanos(process_start(&native)?);
        if round > 0 {
            fresh.push(vm);
            process.push(native);
        }
    }
    Ok((Distribution::of(fresh), Distribution::of(process)))
}

fn process_start(program: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status = Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let time = begun.elapsed();
    ensure!(status.success(), "the native hello failed");
    Ok(time)
}

/// The same code in a VM and natively, in turn; the ratio of the least times, since noise only ever adds.
fn computations() -> anyhow::Result<BTreeMap<&'static str, f64>> {
    const ROUNDS: usize = 11;
    let program = program("kernels-bench")?;
    let mut times: BTreeMap<&'static str, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
    for _ in 0..ROUNDS {
        // Two rounds in the VM, the first of them to touch its memory.
        let output = String::from_utf8(run(&program, "2")?.output)?;
        for (name, kernel) in denali_kernels::suite::ALL {
            let line = output.lines().rfind(|line| line.split(' ').next() == Some(name));
            let guest = line.and_then(|line| line.split(' ').nth(1)).context("the sample left out a computation")?;
            let begun = Instant::now();
            std::hint::black_box(kernel());
            let native = nanos(begun.elapsed());
            let (in_guest, natively) = times.entry(name).or_default();
            in_guest.push(guest.parse()?);
            natively.push(native);
        }
    }
    let least = |times: Vec<u64>| times.into_iter().min().unwrap_or(0) as f64;
    Ok(times.into_iter().map(|(name, (guest, native))| (name, least(guest) / least(native))).collect())
}

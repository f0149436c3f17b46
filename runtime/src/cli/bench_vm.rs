//! `denali bench vm`: how long a VM takes, against an exit and a process start measured in the same run.

use super::{distribution::Distribution, host::Host, print, samples};
use anyhow::ensure;
use denali_protocol::job::Outcome;
use denali_samples::NATIVE_HELLO;
use denali_vmm::measure::{Machine, Program, Run};
use serde::Serialize;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// Measure VMs: an exit, a job in a re-imaged VM, in a new one, and a process start.
///
/// The job takes 64 bytes of input by the NIC, dirties 16 pages, and sends a line of output by the NIC.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench vm --json")]
pub(crate) struct Args {
    /// Jobs and processes to start, of each kind.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// Other VMs alive in the process meanwhile.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    alive: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// Medians, but where a field says otherwise.
#[derive(Serialize)]
struct Measured {
    /// One `out` from CPL 3 to the VMM and back.
    exit_us: f64,
    /// A job in a VM that earlier ones ran in, and putting the VM back.
    reimaged_us: f64,
    reimaged_p99_us: f64,
    /// A job in a VM in which no job ran, made before.
    new_us: f64,
    new_p99_us: f64,
    /// Making a VM, a job in it, and destroying it.
    new_total_us: f64,
    new_total_p99_us: f64,
    /// `posix_spawn` and `wait` of a static C hello.
    process_us: f64,
    reimaged_to_exit: f64,
    new_to_exit: f64,
    reimaged_to_process: f64,
    host: Host,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let exit_us = micros(exit_ns()?);
    let starts = starts(args)?;
    let reimaged_us = micros(starts.reimaged.median());
    let new_us = micros(starts.new.median());
    let process_us = micros(starts.process.median());
    let measured = Measured {
        exit_us,
        reimaged_us,
        reimaged_p99_us: micros(starts.reimaged.percentile(99)),
        new_us,
        new_p99_us: micros(starts.new.percentile(99)),
        new_total_us: micros(starts.new_total.median()),
        new_total_p99_us: micros(starts.new_total.percentile(99)),
        process_us,
        reimaged_to_exit: reimaged_us / exit_us,
        new_to_exit: new_us / exit_us,
        reimaged_to_process: reimaged_us / process_us,
        host: Host::describe(),
    };
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured, args.alive)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured, alive: u32) -> anyhow::Result<()> {
    let line = |what: &str, us: f64, rest: String| print::line(format!("{what:<41} {us:>8.1} µs   {rest}"));
    let exits = |us: f64, p99: f64| format!("{:.1} exits, p99 {p99:.1} µs", us / measured.exit_us);
    print::line(measured.host.to_string())?;
    line("exit from CPL 3 and back", measured.exit_us, String::new())?;
    line("job in a re-imaged VM", measured.reimaged_us, exits(measured.reimaged_us, measured.reimaged_p99_us))?;
    line("job in a new VM, made before", measured.new_us, exits(measured.new_us, measured.new_p99_us))?;
    let what = format!("job in a new VM, all of it, {alive} others alive");
    line(&what, measured.new_total_us, exits(measured.new_total_us, measured.new_total_p99_us))?;
    line("process, hello to the end", measured.process_us, String::new())?;
    print::line(format!("a job in a re-imaged VM takes {:.3} processes", measured.reimaged_to_process))
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

fn succeeded(run: &Run) -> anyhow::Result<()> {
    ensure!(run.outcome == Outcome::Exited(0), "the sample {}", run.outcome);
    Ok(())
}

/// The median over VMs of the mean over a thousand exits.
fn exit_ns() -> anyhow::Result<u64> {
    let program = program("exits")?;
    let mut measured = Vec::new();
    for _ in 0..9 {
        let (run, _) = program.run(&["1000".to_owned()], &[])?;
        succeeded(&run)?;
        measured.push(String::from_utf8(run.output)?.trim().parse()?);
    }
    Ok(Distribution::of(measured).median())
}

/// Nanoseconds, each.
struct Starts {
    reimaged: Distribution,
    new: Distribution,
    new_total: Distribution,
    process: Distribution,
}

/// All kinds in turn, so that they meet the same machine.
fn starts(args: &Args) -> anyhow::Result<Starts> {
    let input = [1; 64];
    let mut program = program("start-bench")?;
    program.warm()?;
    // As in a worker: the first job shows which pages there should be.
    let (first, mut machine) = program.run(&[], &input)?;
    succeeded(&first)?;
    program.learn(&mut machine)?;
    let _others: Vec<Machine> = (0..args.alive).map(|_| program.make()).collect::<Result<_, _>>()?;
    let directory = tempfile::tempdir()?;
    let native = directory.path().join("hello");
    fs::write(&native, NATIVE_HELLO)?;
    fs::set_permissions(&native, fs::Permissions::from_mode(0o755))?;

    let [mut reimaged, mut new, mut new_total, mut process] = [const { Vec::new() }; 4];
    let mut used = program.make()?;
    // Some of each first, not counted: caches are warm for all.
    for round in 0..args.rounds + 5 {
        let begun = Instant::now();
        let (run, mut machine) = program.run_in(used, &[], &input)?;
        program.reset(&mut machine)?;
        let reimaged_took = begun.elapsed();
        succeeded(&run)?;
        used = machine;

        let machine = program.make()?;
        let (run, machine) = program.run_in(machine, &[], &input)?;
        succeeded(&run)?;
        let new_took = run.took;
        drop(machine);

        let begun = Instant::now();
        let (run, machine) = program.run(&[], &input)?;
        drop(machine);
        let total_took = begun.elapsed();
        succeeded(&run)?;

        let process_took = process_start(&native)?;
        if round >= 5 {
            reimaged.push(nanos(reimaged_took));
            new.push(nanos(new_took));
            new_total.push(nanos(total_took));
            process.push(nanos(process_took));
        }
    }
    let [reimaged, new, new_total, process] = [reimaged, new, new_total, process].map(Distribution::of);
    Ok(Starts { reimaged, new, new_total, process })
}

fn process_start(program: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status = Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let time = begun.elapsed();
    ensure!(status.success(), "the native hello failed");
    Ok(time)
}

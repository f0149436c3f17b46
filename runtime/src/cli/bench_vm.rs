//! `denali bench vm`: how long a VM takes, against an exit and a process start measured in the same run.

use super::{
    distribution::Distribution,
    host::Host,
    native_program::NativeProgram,
    plot::{self, Axis, Chart, Series},
    print, samples,
};
use anyhow::{Context, ensure};
use denali_protocol::job::Outcome;
use denali_samples::NATIVE_HELLO;
use denali_vmm::measure::{Machine, Program, Run};
use serde::Serialize;
use std::{
    path::PathBuf,
    process::{ExitCode, Stdio},
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
    /// Also draw how the starts are distributed, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
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
    if let Some(path) = &args.plot {
        plot::lines(path, &figure(&starts, &measured.host))?;
    }
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured, args.alive)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured, alive: u32) -> anyhow::Result<()> {
    let line = |what: &str, us: f64, rest: String| print::line(format!("{what:<46} {us:>8.1} µs   {rest}"));
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

fn figure(starts: &Starts, host: &Host) -> Chart {
    let series = |name: &str, distribution: &Distribution| {
        let points = distribution.curve().into_iter().map(|(ns, percent)| (ns / 1000.0, percent)).collect();
        Series { name: format!("{name}: median {:.0} µs", micros(distribution.median())), points }
    };
    Chart {
        title: "A small job, by how its VM came to be".to_owned(),
        x: Axis::log("time, µs"),
        y: Axis::linear("starts that took no longer, %").showing(&[0.0, 100.0]),
        series: vec![
            series("re-imaged VM", &starts.reimaged),
            series("new VM, made before", &starts.new),
            series("new VM, all of it", &starts.new_total),
            series("process", &starts.process),
        ],
        note: host.to_string(),
    }
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
pub(super) fn exit_ns() -> anyhow::Result<u64> {
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

/// What a job gets by the NIC.
const INPUT: [u8; 64] = [1; 64];
/// Starts of one kind, one after the other, before it is the next kind's turn.
const BLOCK: u32 = 50;
/// Starts before each block that are not counted: they find the caches of another kind.
const UNCOUNTED: u32 = 5;

/// All kinds in turn, so that they meet the same machine; in blocks, since making and destroying a VM takes from the
/// caches what a job in another one would have found there.
fn starts(args: &Args) -> anyhow::Result<Starts> {
    let mut bench = Bench::prepare(args.alive)?;
    let [mut reimaged, mut new, mut new_total, mut process] = [const { Vec::new() }; 4];
    let mut left = args.rounds;
    while left > 0 {
        let block = left.min(BLOCK);
        bench.reimaged(block, &mut reimaged)?;
        bench.made_before(block, &mut new)?;
        measure(block, &mut new_total, || bench.new_total())?;
        measure(block, &mut process, || bench.process())?;
        left -= block;
    }
    let [reimaged, new, new_total, process] = [reimaged, new, new_total, process].map(Distribution::of);
    Ok(Starts { reimaged, new, new_total, process })
}

/// Measures so many starts, after some that are not counted.
fn measure(
    block: u32,
    measured: &mut Vec<u64>,
    mut start: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<()> {
    for n in 0..UNCOUNTED + block {
        let took = start()?;
        if n >= UNCOUNTED {
            measured.push(nanos(took));
        }
    }
    Ok(())
}

/// What is started.
struct Bench {
    program: Program,
    /// The VM that is re-imaged.
    used: Option<Machine>,
    native: NativeProgram,
    _others: Vec<Machine>,
}

impl Bench {
    fn prepare(alive: u32) -> anyhow::Result<Self> {
        let mut program = program("start-bench")?;
        program.warm()?;
        // As in a worker: the first job shows which pages there should be.
        let (first, mut machine) = program.run(&[], &INPUT)?;
        succeeded(&first)?;
        program.learn(&mut machine)?;
        let others = (0..alive).map(|_| program.make()).collect::<Result<_, _>>()?;
        let used = Some(program.make()?);
        Ok(Self { program, used, native: NativeProgram::unpack(NATIVE_HELLO)?, _others: others })
    }

    fn reimaged(&mut self, block: u32, measured: &mut Vec<u64>) -> anyhow::Result<()> {
        let Self { program, used, .. } = self;
        measure(block, measured, || {
            let before = used.take().context("the VM is gone")?;
            let begun = Instant::now();
            let (run, mut machine) = program.run_in(before, &[], &INPUT)?;
            program.reset(&mut machine)?;
            let took = begun.elapsed();
            succeeded(&run)?;
            *used = Some(machine);
            Ok(took)
        })
    }

    /// The VMs of a block are made before it, and destroyed after it.
    fn made_before(&self, block: u32, measured: &mut Vec<u64>) -> anyhow::Result<()> {
        let made = (0..UNCOUNTED + block).map(|_| self.program.make());
        let mut made: Vec<Machine> = made.collect::<Result<_, _>>()?;
        let mut done = Vec::with_capacity(made.len());
        measure(block, measured, || {
            let (run, machine) = self.program.run_in(made.pop().context("too few VMs were made")?, &[], &INPUT)?;
            succeeded(&run)?;
            done.push(machine);
            Ok(run.took)
        })
    }

    fn new_total(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let (run, machine) = self.program.run(&[], &INPUT)?;
        drop(machine);
        let took = begun.elapsed();
        succeeded(&run)?;
        Ok(took)
    }

    fn process(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let status = self.native.command().stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        let took = begun.elapsed();
        ensure!(status.success(), "the native hello failed");
        Ok(took)
    }
}

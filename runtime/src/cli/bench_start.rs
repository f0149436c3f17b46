//! `denali bench start`: what the start and the end of a Linux program cost, more than those of a program for the Denali VM.

use super::{
    bench_vm,
    distribution::Distribution,
    host::Host,
    native_program::NativeProgram,
    print,
    program::{self, Extras, Needs},
    samples, wait,
};
use anyhow::{Context, ensure};
use denali_protocol::job::Outcome;
use denali_samples::NATIVE_HELLO;
use denali_vmm::measure::{Machine, Program};
use serde::Serialize;
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Measure starts of Linux programs: cold, from a warm copy, and in a re-imaged VM.
///
/// Beside a hello for the Denali VM runs one in C for Linux, and each FILE. They have to need no arguments and to exit with status 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench start ./hello --json")]
pub(crate) struct Args {
    /// Further programs for Linux.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Starts of each kind.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// A Linux program may cost so many exits more than one for the Denali VM, from its entry to its end in a warm copy.
const GOAL_EXITS: f64 = 3.0;

#[derive(Serialize)]
struct Measured {
    /// One `out` from CPL 3 to the VMM and back.
    exit_us: f64,
    programs: Vec<Start>,
    rounds: u32,
    host: Host,
}

/// One program: medians, from the job to the end, in VMs that were made before.
#[derive(Serialize)]
struct Start {
    name: String,
    /// The program is loaded.
    cold_us: f64,
    /// It was loaded, and the VM copied.
    warm_us: f64,
    /// The same in a VM that earlier jobs ran in, which is put back.
    reimaged_us: f64,
    /// What the warm start costs more than the first program's, in exits.
    more_exits: f64,
}

/// A program that is started in turn with others.
struct Subject {
    name: String,
    cold: Program,
    warm: Program,
    /// The VM that is re-imaged.
    used: Option<Machine>,
    took: [Vec<u64>; 3],
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let exit_us = bench_vm::exit_ns()? as f64 / 1000.0;
    let native = NativeProgram::unpack(NATIVE_HELLO)?;
    let mut subjects = vec![
        Subject::new("a hello for the Denali VM".to_owned(), &samples::named("hello")?)?,
        Subject::linux("a hello in C".to_owned(), native.path())?,
    ];
    for path in &args.files {
        subjects.push(Subject::linux(path.display().to_string(), path)?);
    }
    let bar = wait::bar(args.rounds);
    for _ in 0..args.rounds {
        subjects.iter_mut().try_for_each(Subject::round)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut programs: Vec<Start> = subjects.into_iter().map(Start::of).collect();
    let least = programs.first().map_or(0.0, |first| first.warm_us);
    programs.iter_mut().for_each(|start| start.more_exits = (start.warm_us - least) / exit_us);
    let measured = Measured { exit_us, programs, rounds: args.rounds, host: Host::describe() };
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Subject {
    fn linux(name: String, path: &std::path::Path) -> anyhow::Result<Self> {
        let bundle = program::Program::read(path, &Needs::default(), &Extras::default())?;
        Self::new(name, &bundle.content)
    }

    fn new(name: String, content: &[u8]) -> anyhow::Result<Self> {
        let (cold, mut warm) = (Program::prepare(content)?, Program::prepare(content)?);
        warm.warm()?;
        // As in a worker: the first job shows which pages there should be.
        let (first, mut machine) = warm.run(&[], &[])?;
        ensure!(first.outcome == Outcome::Exited(0), "{name} {}", first.outcome);
        warm.learn(&mut machine)?;
        let used = Some(warm.make()?);
        Ok(Self { name, cold, warm, used, took: [const { Vec::new() }; 3] })
    }

    fn round(&mut self) -> anyhow::Result<()> {
        for program in 0..2 {
            let program_of = [&self.cold, &self.warm][program];
            let (run, _) = program_of.run_in(program_of.make()?, &[], &[])?;
            ensure!(run.outcome == Outcome::Exited(0), "{} {}", self.name, run.outcome);
            self.took[program].push(nanos(run.took));
        }
        let before = self.used.take().context("the VM is gone")?;
        let begun = Instant::now();
        let (run, mut machine) = self.warm.run_in(before, &[], &[])?;
        self.warm.reset(&mut machine)?;
        let took = begun.elapsed();
        ensure!(run.outcome == Outcome::Exited(0), "{} {}", self.name, run.outcome);
        self.took[2].push(nanos(took));
        self.used = Some(machine);
        Ok(())
    }
}

impl Start {
    fn of(subject: Subject) -> Self {
        let [cold_us, warm_us, reimaged_us] = subject.took.map(|took| Distribution::of(took).median() as f64 / 1000.0);
        Self { name: subject.name, cold_us, warm_us, reimaged_us, more_exits: 0.0 }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    print::line(measured.host.to_string())?;
    print::line(format!("exit from CPL 3 and back: {:.1} µs", measured.exit_us))?;
    print::line("    cold, µs    warm, µs   re-imaged, µs   more exits   program")?;
    for Start { name, cold_us, warm_us, reimaged_us, more_exits } in &measured.programs {
        let verdict = if *more_exits > GOAL_EXITS { format!(" (the goal is {GOAL_EXITS})") } else { String::new() };
        print::line(format!("{cold_us:>12.1}{warm_us:>12.1}{reimaged_us:>16.1}{more_exits:>13.1}   {name}{verdict}"))?;
    }
    Ok(())
}

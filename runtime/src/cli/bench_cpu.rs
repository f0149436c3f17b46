//! `denali bench cpu`: how long computing takes in a VM, against the same machine code natively.

use super::{
    distribution::Distribution,
    host::Host,
    native_program::NativeProgram,
    plot::{self, Axis, Row, Rows},
    print, samples, wait,
};
use anyhow::{Context, ensure};
use denali_kernels::suite::{self, Kernel, Measurement};
use denali_protocol::job::Outcome;
use denali_samples::NATIVE_KERNELS;
use denali_vmm::measure::Program;
use serde::Serialize;
use std::{
    path::PathBuf,
    process::{ExitCode, Stdio},
};

/// Measure computing in a VM against computing natively.
///
/// Each computation runs in a new VM and natively in turn: once to touch its memory, then three times by the clock. Both
/// sides use pages of 4 KiB. The ratio is of the least times, since noise only ever adds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench cpu --json")]
pub(crate) struct Args {
    /// Computations to measure [default: all]
    #[arg(value_name = "NAME", value_parser = kernel)]
    only: Vec<Kernel>,
    /// New VMs that each computation is measured in.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(11..=10_000))]
    rounds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
    /// Also draw the ratios, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// A computation by its name, for clap.
fn kernel(name: &str) -> Result<Kernel, String> {
    name.parse().map_err(|_| format!("there are {}", suite::ALL.map(|kernel| kernel.name).join(", ")))
}

#[derive(Serialize)]
struct Measured {
    computations: Vec<Compared>,
    rounds: u32,
    host: Host,
}

/// One computation on both sides.
#[derive(Serialize)]
struct Compared {
    name: &'static str,
    /// Least time in the VM over least time natively.
    ratio: f64,
    /// The most that the ratio should be.
    goal: f64,
    /// Median time in the VM over median time natively.
    median_ratio: f64,
    guest_us: f64,
    guest_median_us: f64,
    native_us: f64,
    native_median_us: f64,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let guest = Program::prepare(&samples::named("kernels-bench")?)?;
    let sides = Sides { guest, native: NativeProgram::unpack(NATIVE_KERNELS)? };
    let kernels = if args.only.is_empty() { &suite::ALL[..] } else { &args.only };
    let bar = wait::bar(args.rounds * kernels.len() as u32);
    let compared = kernels.iter().map(|kernel| compare(&sides, kernel, args.rounds, &bar));
    let computations = compared.collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let measured = Measured { computations, rounds: args.rounds, host: Host::describe() };
    if let Some(path) = &args.plot {
        plot::rows(path, &figure(&measured))?;
    }
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    print::line(measured.host.to_string())?;
    print::line("computation        in a VM    natively   ratio   goal     of medians")?;
    for Compared { name, ratio, goal, median_ratio, guest_us, native_us, .. } in &measured.computations {
        let (guest, native) = (guest_us / 1000.0, native_us / 1000.0);
        let verdict = if ratio > goal { "over" } else { "" };
        let line = format!(
            "{name:<14} {guest:>8.2} ms {native:>8.2} ms   {ratio:.3}   {goal:.2} {verdict:<5} {median_ratio:.3}"
        );
        print::line(line)?;
    }
    Ok(())
}

fn figure(measured: &Measured) -> Rows {
    let row =
        |c: &Compared| Row { name: c.name.to_owned(), value: c.ratio, second: c.median_ratio, goal: Some(c.goal) };
    Rows {
        title: "Computing in a VM".to_owned(),
        x: Axis::linear("time in a VM ÷ time natively").showing(&[0.98, 1.04]),
        base: 1.0,
        value: "of the least times".to_owned(),
        second: "of the medians".to_owned(),
        rows: measured.computations.iter().map(row).collect(),
        note: measured.host.to_string(),
    }
}

/// In a VM and natively in turn, so that both meet the same machine.
fn compare(sides: &Sides, kernel: &Kernel, rounds: u32, bar: &indicatif::ProgressBar) -> anyhow::Result<Compared> {
    let (mut guest, mut native) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (in_vm, natively) = (sides.in_vm(kernel)?, sides.natively(kernel)?);
        ensure!(in_vm.result == natively.result, "{} gave another result in a VM", kernel.name);
        guest.extend(in_vm.ns);
        native.extend(natively.ns);
        bar.inc(1);
    }
    let (guest, native) = (Distribution::of(guest), Distribution::of(native));
    let micros = |ns: u64| ns as f64 / 1000.0;
    Ok(Compared {
        name: kernel.name,
        ratio: guest.least() as f64 / native.least() as f64,
        goal: kernel.goal,
        median_ratio: guest.median() as f64 / native.median() as f64,
        guest_us: micros(guest.least()),
        guest_median_us: micros(guest.median()),
        native_us: micros(native.least()),
        native_median_us: micros(native.median()),
    })
}

/// The computations as a program for a VM, and as one for the host. The functions that compute are the same machine code
/// in both, at the same places in their cache lines.
struct Sides {
    guest: Program,
    native: NativeProgram,
}

impl Sides {
    fn in_vm(&self, kernel: &Kernel) -> anyhow::Result<Measurement> {
        let (run, _) = self.guest.run(&[kernel.name.to_owned()], &[])?;
        ensure!(run.outcome == Outcome::Exited(0), "the sample {}", run.outcome);
        parse(run.output)
    }

    /// In a process of its own: its memory is new, as the VM's.
    fn natively(&self, kernel: &Kernel) -> anyhow::Result<Measurement> {
        let output = self.native.command().arg(kernel.name).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the native program failed");
        parse(output.stdout)
    }
}

/// Both programs say the result, then each time.
fn parse(output: Vec<u8>) -> anyhow::Result<Measurement> {
    let output = String::from_utf8(output)?;
    let mut numbers = output.lines().map(str::parse);
    let mut next = || Ok::<u64, anyhow::Error>(numbers.next().context("the program said too little")??);
    let result = next()?;
    let mut ns = [0; suite::TIMED];
    for ns in &mut ns {
        *ns = next()?;
    }
    Ok(Measurement { ns, result })
}

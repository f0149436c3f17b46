//! `denali bench program`: how long a Linux program takes in a VM, against the same program on the host.

use super::{
    distribution::Distribution,
    failure::Hint,
    host::Host,
    print,
    program::{self, Extras, Needs},
    wait,
};
use anyhow::Context;
use denali_protocol::job::Outcome;
use denali_vmm::measure;
use serde::Serialize;
use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// What a program may use that is measured, unless an option says otherwise.
const TIME: Duration = Duration::from_secs(3600);

/// Measure a Linux program in a VM and on the host.
///
/// It runs in a new VM and as a process in turn, with the same arguments and nothing to read; both have to print the same
/// and end alike. Times are from its start to its end, starting included. The ratio is of the least times, since noise
/// only ever adds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  denali bench program --memory 256MiB ./channels 1000000\n  \
                  denali bench program --native 'python3 nbody.py' nbody.denali 50000")]
pub(crate) struct Args {
    /// Program, or bundle.
    program: PathBuf,
    /// Arguments of both.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// What runs on the host, in words [default: the program]
    #[arg(long, value_name = "COMMAND")]
    native: Option<String>,
    #[command(flatten)]
    needs: Needs,
    #[command(flatten)]
    extras: Extras,
    /// Times that each is run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    /// Least time in the VM over least time on the host.
    ratio: f64,
    /// The same of medians.
    median_ratio: f64,
    guest_ms: f64,
    native_ms: f64,
    /// Most exits of one run for faults: system calls and CPUIDs that trapped are among them.
    faults: u64,
    /// Most exits of one run to change page tables.
    protects: u64,
    rounds: u32,
    host: Host,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let mut needs = args.needs.clone();
    needs.cpu_time.get_or_insert(TIME);
    needs.wall_time.get_or_insert(TIME);
    let bundle = program::Program::read(&args.program, &needs, &args.extras)?;
    let guest = measure::Program::prepare(&bundle.content)?;
    let (mut in_vm, mut natively) = (Vec::new(), Vec::new());
    let (mut faults, mut protects) = (0, 0);
    let bar = wait::bar(args.rounds);
    for _ in 0..args.rounds {
        let (run, _) = guest.run(&args.arguments, &[])?;
        let begun = Instant::now();
        let output = args
            .command()?
            .output()
            .context("cannot run the program on the host")
            .hint("give the host's command by --native")?;
        natively.push(begun.elapsed());
        let status = output.status.code().map(|code| Outcome::Exited(code as u8));
        if status != Some(run.outcome.clone()) || output.stdout != run.output {
            let (bytes, host_bytes) = (run.output.len(), output.stdout.len());
            let text = format!(
                "{} with {bytes} bytes of output in the VM, {} with {host_bytes} on the host",
                run.outcome, output.status
            );
            return Err(anyhow::anyhow!(text)).hint("measure a program that does the same on both");
        }
        in_vm.push(run.took);
        faults = faults.max(run.usage.exits.fault);
        protects = protects.max(run.usage.exits.protect);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let [guest, native] =
        [in_vm, natively].map(|times| Distribution::of(times.iter().map(|time| time.as_micros() as u64).collect()));
    let measured = Measured {
        ratio: guest.least() as f64 / native.least() as f64,
        median_ratio: guest.median() as f64 / native.median() as f64,
        guest_ms: guest.least() as f64 / 1000.0,
        native_ms: native.least() as f64 / 1000.0,
        faults,
        protects,
        rounds: args.rounds,
        host: Host::describe(),
    };
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What runs on the host.
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = match &self.native {
            None => Command::new(self.program.canonicalize()?),
            Some(words) => {
                let mut words = words.split_whitespace();
                let mut command = Command::new(words.next().context("--native is empty")?);
                command.args(words);
                command
            }
        };
        command.args(&self.arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        Ok(command)
    }
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    let Measured { ratio, median_ratio, guest_ms, native_ms, faults, protects, .. } = measured;
    print::line(measured.host.to_string())?;
    print::line("      in a VM       on the host   ratio   of medians   faults   PROTECTs")?;
    print::line(format!(
        "{guest_ms:>10.2} ms   {native_ms:>12.2} ms   {ratio:.3}   {median_ratio:>10.3}   {faults:>6}   {protects:>8}"
    ))
}

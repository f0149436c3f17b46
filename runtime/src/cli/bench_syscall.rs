//! `denali bench syscall`: how long a Linux program's system calls take in a VM, against the same program on the host.

use super::{
    distribution::Distribution,
    host::Host,
    native_program::NativeProgram,
    print,
    program::{self, Extras, Needs},
    wait,
};
use anyhow::{Context, ensure};
use denali_protocol::job::Outcome;
use denali_samples::NATIVE_SYSCALLS;
use denali_vmm::measure::Program;
use serde::Serialize;
use std::process::{ExitCode, Stdio};

/// Measure system calls of a Linux program in a VM and on the host.
///
/// The same static program runs in a new VM and as a process in turn. `futex` is from one thread to another and back, on
/// one CPU.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench syscall --json")]
pub(crate) struct Args {
    /// New VMs that each call is measured in.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// The calls, and how many times faster than the host's they should be.
const CALLS: [(&str, f64); 5] =
    [("getpid", 5.0), ("write", 5.0), ("read", 5.0), ("clock_gettime", 1.0), ("futex", 1.0)];

#[derive(Serialize)]
struct Measured {
    calls: Vec<Compared>,
    rounds: u32,
    host: Host,
}

/// One call on both sides: medians.
#[derive(Serialize)]
struct Compared {
    name: &'static str,
    guest_ns: f64,
    native_ns: f64,
    /// Time on the host over time in the VM.
    times_faster: f64,
    /// The least that this should be.
    goal: f64,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let native = NativeProgram::unpack(NATIVE_SYSCALLS)?;
    let bundle = program::Program::read(native.path(), &Needs::default(), &Extras::default())?;
    let guest = Program::prepare(&bundle.content)?;
    let bar = wait::bar(args.rounds * CALLS.len() as u32);
    let compare = |(name, goal): (&'static str, f64)| {
        let (mut in_vm, mut natively) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            let (run, _) = guest.run(&[name.to_owned()], &[])?;
            ensure!(run.outcome == Outcome::Exited(0), "the program {}", run.outcome);
            in_vm.extend(parse(run.output)?);
            let output = native.command().arg(name).stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "the native program failed");
            natively.extend(parse(output.stdout)?);
            bar.inc(1);
        }
        let [guest_ns, native_ns] =
            [in_vm, natively].map(|picoseconds| Distribution::of(picoseconds).median() as f64 / 1000.0);
        Ok(Compared { name, guest_ns, native_ns, times_faster: native_ns / guest_ns, goal })
    };
    let calls = CALLS.into_iter().map(compare).collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let measured = Measured { calls, rounds: args.rounds, host: Host::describe() };
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    print::line(measured.host.to_string())?;
    print::line("call               in a VM    on the host   times faster   goal")?;
    for Compared { name, guest_ns, native_ns, times_faster, goal } in &measured.calls {
        let verdict = if times_faster < goal { "under" } else { "" };
        print::line(format!(
            "{name:<14} {guest_ns:>8.1} ns   {native_ns:>8.1} ns   {times_faster:>12.1}   {goal:.0} {verdict}"
        ))?;
    }
    Ok(())
}

/// The program says picoseconds a call, line by line.
fn parse(output: Vec<u8>) -> anyhow::Result<Vec<u64>> {
    let output = String::from_utf8(output)?;
    output.lines().map(|line| line.parse().context("the program said something else than a number")).collect()
}

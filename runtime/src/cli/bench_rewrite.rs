//! `denali bench rewrite`: what the rewriter makes of Linux programs, and how long it takes, on this host and without a VM.

use super::{host::Host, print};
use anyhow::Context;
use denali_linux::{
    elf::{self, Segment},
    rewrite::{Functions, Handlers, Reason, Report, StubArea, Text, Trap, plan},
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Measure how system calls of Linux programs are replaced as they are loaded: how many, which not, and how long it takes.
///
/// `returns` are returns from signal handlers that unwinders know by their bytes alone, so that they are left as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench rewrite /bin/busybox --json")]
pub(crate) struct Args {
    /// Programs and libraries.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Times that each is rewritten; the least is told.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// Where stubs would be, and where they would lead: below every program, as in a VM.
const STUBS: u64 = 0x20_0000;
const STUB_BYTES: usize = 256 << 10;
const HANDLERS: Handlers = Handlers { syscall: 0x30_0000, cpuid: 0x30_0040 };

#[derive(Serialize)]
struct Measured {
    files: Vec<Rewritten>,
    host: Host,
}

/// One file.
#[derive(Default, Serialize)]
struct Rewritten {
    file: String,
    code_bytes: usize,
    /// System calls, of which so many were replaced.
    syscalls: usize,
    syscalls_replaced: usize,
    cpuids: usize,
    cpuids_replaced: usize,
    /// Returns from signal handlers that are left alone.
    returns: usize,
    /// Calls that still trap.
    trapping: Vec<Trapping>,
    /// Reading the tables of functions, and planning.
    ms: f64,
}

#[derive(Serialize)]
struct Trapping {
    address: u64,
    /// The file's name for it, if it has one.
    function: Option<String>,
    reason: String,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let files = args.files.iter().map(|path| rewritten(path, args.rounds)).collect::<anyhow::Result<_>>()?;
    let measured = Measured { files, host: Host::describe() };
    if args.json {
        print::json(&measured)?;
    } else {
        show(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rewritten(path: &Path, rounds: u32) -> anyhow::Result<Rewritten> {
    let name = path.display().to_string();
    let file = std::fs::read(path).with_context(|| name.clone())?;
    let code = elf::code(&file).with_context(|| name.clone())?;
    let (mut best, mut reports) = (Duration::MAX, Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let functions = elf::functions(&file, 0);
        reports = code.iter().filter_map(|segment| planned(segment, &functions)).collect();
        best = best.min(begun.elapsed());
    }
    let mut told = Rewritten {
        file: name,
        code_bytes: code.iter().map(|segment| segment.data.len()).sum(),
        ms: best.as_secs_f64() * 1000.0,
        ..Rewritten::default()
    };
    reports.iter().for_each(|report| told.add(report, &file));
    Ok(told)
}

fn planned(segment: &Segment<'_>, functions: &Functions) -> Option<Report> {
    let text = Text::new(segment.start, segment.data)?;
    Some(plan(text, functions, StubArea::new(STUBS, STUB_BYTES)?, HANDLERS).report)
}

impl Rewritten {
    fn add(&mut self, report: &Report, file: &[u8]) {
        self.syscalls_replaced += report.syscalls;
        self.cpuids_replaced += report.cpuids;
        self.syscalls += report.syscalls;
        self.cpuids += report.cpuids;
        for refused in &report.refused {
            match (refused.reason, refused.trap) {
                (Reason::SignalReturn, _) => {
                    self.returns += 1;
                    continue;
                }
                (_, Trap::Syscall) => self.syscalls += 1,
                (_, Trap::Cpuid) => self.cpuids += 1,
            }
            let function = elf::symbol(file, refused.address).map(|(name, _)| name.to_owned());
            self.trapping.push(Trapping {
                address: refused.address,
                function,
                reason: format!("{:?}", refused.reason),
            });
        }
    }
}

fn show(measured: &Measured) -> anyhow::Result<()> {
    print::line(measured.host.to_string())?;
    print::line("  code KiB   syscalls  replaced   cpuids  replaced  returns        ms  file")?;
    for file in &measured.files {
        let Rewritten { syscalls, syscalls_replaced, cpuids, cpuids_replaced, returns, ms, .. } = file;
        print::line(format!(
            "{:>10}   {syscalls:>8}  {syscalls_replaced:>8}   {cpuids:>6}  {cpuids_replaced:>8}  {returns:>7}  {ms:>8.2}  {}",
            file.code_bytes >> 10,
            file.file
        ))?;
        for Trapping { address, function, reason } in &file.trapping {
            let function = function.as_deref().unwrap_or("a function without a name");
            print::line(format!("             traps: {address:#x} in {function}: {reason}"))?;
        }
    }
    Ok(())
}

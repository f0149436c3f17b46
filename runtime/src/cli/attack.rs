//! `denali attack`: hostile guests against the boundary of this machine's VMs, by the thousand, and whether every promise
//! held. See `docs/attack.md`.

mod campaign;
mod raw;
mod replay;

use super::{failure, print, units};
use anyhow::Context;
use denali_vmm::attack::{Oracle, Reproduction, Trace};
use serde::Serialize;
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Attack this machine's VMs with hostile guests, and see whether every promise holds.
///
/// Without arguments, guests are generated from a random seed for 10 seconds. Exits with 1 if a promise was broken, or a
/// reproduction ended otherwise than it says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  denali attack
  denali attack --seed 7 --time 60s --jobs 2 --json
  denali attack --flat guest.bin --record guest.attack
  denali attack --replay guest.attack")]
pub(crate) struct Args {
    /// Where generated guests come from: the same seed gives the same guests [default: a random one].
    #[arg(long, value_name = "NUMBER", conflicts_with = "raw")]
    seed: Option<u64>,
    /// Of generated guests: the number of the seed's first one to run.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "raw")]
    first: u64,
    /// Guests to run, rather than for a time; of a raw guest, how often it runs.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    programs: Option<u64>,
    /// Of generated guests: the time to run them for [default: 10s; none with --programs].
    #[arg(long, value_name = "TIME", value_parser = units::duration, conflicts_with = "raw")]
    time: Option<Duration>,
    /// Of generated guests: threads, each with a VM of its own.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256),
        conflicts_with = "raw")]
    jobs: u16,
    /// Run this raw machine code, at most 64 KiB, from 0x200000 on; - is standard input.
    #[arg(long, value_name = "FILE", group = "raw")]
    flat: Option<PathBuf>,
    /// Run this static ELF file for the Denali VM; - is standard input.
    #[arg(long, value_name = "FILE", group = "raw")]
    elf: Option<PathBuf>,
    /// Play a reproduction, and say whether it ends as it did.
    #[arg(long, value_name = "FILE", group = "raw", conflicts_with_all = ["programs", "record"])]
    replay: Option<PathBuf>,
    /// Write the last guest, what it did and how it ended, for --replay; over a file that is there.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Directory for reproductions of guests that broke a promise.
    #[arg(long, value_name = "DIR", default_value = "attack-findings")]
    out: PathBuf,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let held = match (&args.replay, &args.flat, &args.elf) {
        (Some(file), ..) => replay::execute(args, file)?,
        (None, Some(file), _) => raw::execute(args, file, raw::Kind::Flat)?,
        (None, None, Some(file)) => raw::execute(args, file, raw::Kind::Elf)?,
        (None, None, None) => campaign::execute(args)?,
    };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

/// A broken promise as JSON and for people.
#[derive(Clone, Debug, Serialize)]
struct Broken {
    /// Which promise.
    oracle: String,
    /// How it was broken.
    detail: String,
    /// The reproduction.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

impl Broken {
    fn new(oracle: Oracle, detail: &str) -> Self {
        Self { oracle: format!("{oracle:?}").to_lowercase(), detail: detail.to_owned(), file: None }
    }

    /// What a reproduction shows.
    fn of(reproduction: &Reproduction) -> Vec<Self> {
        reproduction.findings.iter().map(|(oracle, detail)| Self::new(*oracle, detail)).collect()
    }
}

/// The exits that were kept, and how many were not.
fn show_exits(trace: &Trace) -> anyhow::Result<()> {
    for (n, step) in trace.steps.iter().enumerate() {
        print::line(format!("exit {n}: {step}"))?;
    }
    match trace.entries.saturating_sub(trace.steps.len() as u64) {
        0 => Ok(()),
        more => print::line(format!("and {more} more exits")),
    }
}

fn show(broken: &[Broken]) -> anyhow::Result<()> {
    for Broken { oracle, detail, file } in broken {
        print::line(format!("broken: {oracle}: {detail}"))?;
        if let Some(file) = file {
            print::line(format!("  denali attack --replay {}", file.display()))?;
        }
    }
    Ok(())
}

/// Reads at most `most` bytes and one more of a file, or of standard input.
fn read(file: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = most as u64 + 1;
    let read = if file == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.with_context(|| file.display().to_string())?;
    Ok(bytes)
}

fn write(file: &Path, reproduction: &Reproduction) -> anyhow::Result<()> {
    let bytes = reproduction.write().context("the guest is too large for a reproduction")?;
    fs::write(file, bytes).with_context(|| file.display().to_string())
}

//! `denali attack --flat` and `--elf`: a guest that somebody else made.

use super::{Args, Broken, print, read, show, write};
use crate::cli::failure::Hint;
use denali_vmm::attack::{Case, Reproduction, Target};
use serde::Serialize;
use std::{collections::BTreeSet, path::Path};

/// How a guest is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Flat,
    Elf,
}

#[derive(Serialize)]
struct Ran {
    outcome: String,
    end: String,
    exits: u64,
    cpu_us: u64,
    /// Numbers of the features that it reached.
    features: BTreeSet<u16>,
    broken: Vec<Broken>,
}

/// Longest ELF file.
const ELF_BYTES: usize = 64 << 20;

/// Whether every promise held.
pub(super) fn execute(args: &Args, file: &Path, kind: Kind) -> anyhow::Result<bool> {
    let bytes = read(file, ELF_BYTES)?;
    let case = match kind {
        Kind::Elf => Case::elf(bytes),
        Kind::Flat => Case::flat(bytes).hint("an ELF file may be larger: --elf")?,
    };
    let mut target = Target::for_case(&case)?;
    let mut verdict = target.run(&case)?;
    let mut features: BTreeSet<u16> = verdict.features.iter().copied().collect();
    for _ in 1..args.programs.unwrap_or(1) {
        if !verdict.findings.is_empty() {
            break;
        }
        verdict = target.run(&case)?;
        features.extend(&verdict.features);
    }
    verdict.findings.extend(target.inspect()?);
    let reproduction = Reproduction::of(&case, &verdict);
    if let Some(file) = &args.record {
        write(file, &reproduction)?;
    }
    let ran = Ran {
        outcome: verdict.outcome.word().to_owned(),
        end: verdict.outcome.to_string(),
        exits: verdict.trace.entries,
        cpu_us: verdict.usage.cpu_us,
        features,
        broken: Broken::of(&reproduction),
    };
    if args.json {
        print::json(&ran)?;
        return Ok(ran.broken.is_empty());
    }
    for (n, step) in verdict.trace.steps.iter().enumerate() {
        print::line(format!("exit {n}: {step}"))?;
    }
    print::line(format!("end: {}", ran.end))?;
    show(&ran.broken)?;
    if ran.broken.is_empty() {
        print::line("every promise held")?;
    }
    Ok(ran.broken.is_empty())
}

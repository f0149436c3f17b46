//! `denali attack --flat` and `--elf`: a guest that somebody else made.

use super::{Args, Broken, print, read, show, show_exits, write};
use crate::cli::failure::{Hint, fail};
use denali_vmm::attack::{Case, Reproduction, Target, Verdict};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// How a guest is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Flat,
    Elf,
}

#[derive(Serialize)]
struct Ran {
    /// How often it ran.
    programs: u64,
    /// Runs by the word for their end.
    ends: BTreeMap<&'static str, u64>,
    /// Of the last run: the word for its end, and the same in words.
    outcome: String,
    end: String,
    exits: u64,
    cpu_us: u64,
    features: usize,
    /// Numbers of the features that it reached.
    reached: BTreeSet<u16>,
    broken: Vec<Broken>,
}

/// Longest ELF file.
const ELF_BYTES: usize = 64 << 20;

/// Whether every promise held.
pub(super) fn execute(args: &Args, file: &Path, kind: Kind) -> anyhow::Result<bool> {
    let bytes = read(file, ELF_BYTES)?;
    let case = match kind {
        _ if bytes.is_empty() => {
            return fail(format!("{}: no code", file.display()), "`ret` is one byte: printf '\\xc3'");
        }
        Kind::Elf if bytes.len() > ELF_BYTES => {
            return fail(format!("{}: more than {ELF_BYTES} bytes", file.display()), "strip it");
        }
        Kind::Elf => Case::elf(bytes),
        Kind::Flat => Case::flat(bytes).hint("an ELF file may be larger: --elf")?,
    };
    let mut target = Target::for_case(&case)?;
    let (mut programs, mut ends, mut reached) = (0, BTreeMap::new(), BTreeSet::new());
    let mut verdict = loop {
        let verdict = target.run(&case)?;
        programs += 1;
        *ends.entry(verdict.outcome.word()).or_default() += 1;
        reached.extend(&verdict.features);
        if programs == args.programs.unwrap_or(1) || !verdict.findings.is_empty() {
            break verdict;
        }
    };
    verdict.findings.extend(target.inspect()?);
    let reproduction = Reproduction::of(&case, &verdict);
    let ran = Ran {
        programs,
        ends,
        outcome: verdict.outcome.word().to_owned(),
        end: verdict.outcome.to_string(),
        exits: verdict.trace.entries,
        cpu_us: verdict.usage.cpu_us,
        features: reached.len(),
        reached,
        broken: Broken::of(&reproduction),
    };
    let said = if args.json { print::json(&ran) } else { tell(&ran, &verdict) };
    said?;
    args.record.as_deref().map_or(Ok(()), |file| write(file, &reproduction))?;
    Ok(ran.broken.is_empty())
}

fn tell(ran: &Ran, verdict: &Verdict) -> anyhow::Result<()> {
    show_exits(&verdict.trace)?;
    print::line(format!("end: {}", ran.end))?;
    if ran.ends.len() > 1 {
        let ends = ran.ends.iter().map(|(word, count)| format!("{word} {count}"));
        print::line(format!("ends of all runs: {}", ends.collect::<Vec<_>>().join(", ")))?;
    }
    show(&ran.broken)?;
    if ran.broken.is_empty() { print::line("every promise held") } else { Ok(()) }
}

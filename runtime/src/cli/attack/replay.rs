//! `denali attack --replay`: a reproduction played again.

use super::{Args, Broken, print, read, show, show_exits};
use crate::cli::failure::Hint;
use anyhow::Context;
use denali_vmm::attack::{REPRODUCTION_BYTES, Reproduction, Target, same_end};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Replayed {
    /// Whether it ended as it did.
    same_end: bool,
    /// The first exit, counted from 0, that was another; null where none was.
    differs_at: Option<usize>,
    end: String,
    recorded_end: String,
    broken: Vec<Broken>,
}

/// Whether it ended as it did, and every promise held.
pub(super) fn execute(args: &Args, file: &Path) -> anyhow::Result<bool> {
    let recorded = Reproduction::parse(&read(file, REPRODUCTION_BYTES)?)
        .with_context(|| format!("{} is no reproduction", file.display()))
        .hint("`denali attack --record FILE` writes one, and so does a finding")?;
    let mut target = Target::for_case(&recorded.case)?;
    let mut verdict = target.run(&recorded.case)?;
    verdict.findings.extend(target.inspect()?);
    let replayed = Replayed {
        same_end: same_end(&verdict.outcome, &recorded.outcome),
        differs_at: recorded.trace.differs_at(&verdict.trace),
        end: verdict.outcome.to_string(),
        recorded_end: recorded.outcome.to_string(),
        broken: verdict.findings.iter().map(|finding| Broken::new(finding.oracle, &finding.detail)).collect(),
    };
    let held = replayed.same_end && replayed.broken.is_empty();
    if args.json {
        print::json(&replayed)?;
        return Ok(held);
    }
    print::line(recorded.case.to_string().trim_end())?;
    show_exits(&verdict.trace)?;
    print::line(format!("end: {}", replayed.end))?;
    if !replayed.same_end {
        print::line(format!("recorded end: {}", replayed.recorded_end))?;
    }
    match (replayed.same_end, replayed.differs_at) {
        (true, None) => print::line("the same end, by the same exits")?,
        (true, Some(at)) => print::line(format!("the same end, by other exits from exit {at} on"))?,
        (false, _) => print::line("another end")?,
    }
    show(&replayed.broken)?;
    Ok(held)
}

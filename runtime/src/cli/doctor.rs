//! `denali doctor`: checks whether this machine can run VMs and jobs, and says what to do where it can't.

mod hardening;
mod machine;
mod room;

use super::{failure, print};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};

/// Check this machine: KVM, kernel, memory, limits and directories, and how hard it is.
///
/// Exits with 1 if anything fails; warnings do not count.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali doctor --data /var/lib/denali")]
pub(crate) struct Args {
    /// A node's data directory to check as well.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON: one object with all checks.
    #[arg(long)]
    json: bool,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, detail: detail.into(), advice: None }
    }

    /// A warning where there is something to warn of.
    fn warn_of(check: &'static str, bad: Option<String>, good: &str, advice: &str) -> Self {
        match bad {
            None => Self::ok(check, good),
            Some(detail) => Self::bad(check, Level::Warn, detail, advice),
        }
    }

    fn bad(check: &'static str, level: Level, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level, detail: detail.into(), advice: Some(advice.into()) }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Finding],
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let mut findings = vec![machine::kvm(), machine::jail(), machine::cpu(), machine::kernel(), machine::starts()];
    findings.extend([room::memory(), room::descriptors(), room::config()]);
    findings.extend(args.data.as_deref().map(|data| room::writable("data directory", data)));
    findings.extend(hardening::findings());
    let ok = findings.iter().all(|finding| finding.level != Level::Fail);
    if args.json {
        print::json(&Report { ok, checks: &findings })?;
    } else {
        show(&findings)?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

fn show(findings: &[Finding]) -> anyhow::Result<()> {
    for Finding { check, level, detail, advice } in findings {
        let word = match level {
            Level::Ok => "ok",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        print::line(format!("{word:<5} {check:<16} {detail}"))?;
        if let Some(advice) = advice {
            print::line(format!("      {:<16} {advice}", ""))?;
        }
    }
    Ok(())
}

//! From what was seen of a run to its verdict.

use super::{
    case::Case,
    features::features,
    forecast::forecast,
    trace::Trace,
    truth::{self, untruths},
    verdict::{Finding, Oracle, Verdict},
};
use denali_protocol::job::{Limits, Outcome, Usage};

/// Time from the first instruction to the end, in microseconds.
const WALL_TIME_US: u64 = 5_000_000;

/// What was seen of a run.
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    pub(super) usage: Usage,
    pub(super) trace: Trace,
    pub(super) cancelled: bool,
    pub(super) output: u64,
    pub(super) findings: Vec<Finding>,
}

/// What a VM may use.
pub(super) fn limits(case: &Case, memory_bytes: u64) -> Limits {
    let (cpu_time_us, output_bytes) = (case.cpu_time_us, case.output_bytes);
    Limits { memory_bytes, cpu_time_us, wall_time_us: WALL_TIME_US, output_bytes }
}

/// Asks the oracles that look at each program.
pub(super) fn judge(case: &Case, ran: Ran, memory_bytes: u64) -> Verdict {
    let Ran { outcome, usage, trace, cancelled, output, mut findings } = ran;
    let limits = limits(case, memory_bytes);
    let run = truth::Run { outcome: &outcome, usage: &usage, trace: &trace, limits: &limits, cancelled, output };
    findings.extend(untruths(&run).into_iter().map(|detail| Finding::new(Oracle::Truth, detail)));
    if let Some(forecast) = forecast(case).filter(|forecast| !forecast.allows(&outcome, case)) {
        findings
            .push(Finding::new(Oracle::Forecast, format!("the end: {outcome}; its instructions say {forecast:x?}")));
    }
    let features = features(&outcome, &trace);
    Verdict { outcome, usage, trace, features, findings }
}

//! `denali submit --dry-run`: what would be sent, and whether the node would take it, as far as it tells.

use super::{clock::unix_now_s, connect::Connected, failure::NO, print, submission::Submission, units};
use crate::client::session::printable;
use denali_protocol::{
    bundle::{Manifest, verify_signatures},
    wire::message::NodeInfo,
};
use serde::Serialize;

#[derive(Serialize)]
struct DryRun {
    bundle: String,
    jobs: u32,
    signers: Vec<String>,
    node: String,
    node_version: String,
    slots: u32,
    /// What speaks against it; empty if nothing does.
    problems: Vec<String>,
}

/// Shows what a submission would be. Gives the exit status.
pub(crate) async fn show(submission: &Submission, connected: &Connected, json: bool) -> anyhow::Result<u8> {
    let info = connected.session.info().await?;
    let request = &submission.request;
    let signers = verify_signatures(&request.bundle, &request.signatures, unix_now_s());
    let mut problems = Vec::new();
    match &signers {
        Err(error) => problems.push(error.to_string()),
        Ok(signers) if signers.is_empty() => problems.extend(unsigned_problem(&submission.program.manifest, &info)),
        Ok(_) => {}
    }
    let manifest = &submission.program.manifest;
    if manifest.cpu > info.cpu {
        problems.push(format!("the bundle needs {}, the node offers {}", manifest.cpu, info.cpu));
    }
    let report = DryRun {
        bundle: request.bundle.to_string(),
        jobs: request.indices.count(),
        signers: signers.unwrap_or_default().iter().map(ToString::to_string).collect(),
        node: connected.target.to_string(),
        node_version: printable(&info.version),
        slots: info.slots,
        problems,
    };
    if json {
        print::json(&report)?;
    } else {
        show_text(&report)?;
    }
    Ok(if report.problems.is_empty() { 0 } else { NO })
}

fn show_text(report: &DryRun) -> anyhow::Result<()> {
    let signers = if report.signers.is_empty() { "nobody".to_owned() } else { report.signers.join(", ") };
    print::line(format!("bundle     {}", report.bundle))?;
    print::line(format!("signed by  {signers}"))?;
    print::line(format!("jobs       {}", report.jobs))?;
    print::line(format!("node       {} (version {}, {} VMs at once)", report.node, report.node_version, report.slots))?;
    for problem in &report.problems {
        print::line(format!("problem    {problem}"))?;
    }
    print::line("dry run: nothing was submitted")
}

/// What an unsigned bundle asks for and is not granted.
fn unsigned_problem(manifest: &Manifest, info: &NodeInfo) -> Option<String> {
    let Some(granted) = info.unsigned else { return Some("the node takes no unsigned bundles; sign it".to_owned()) };
    let (bytes, micros) = (units::show_bytes, units::show_micros);
    [
        ("memory", manifest.memory_bytes, granted.memory_bytes, bytes as fn(u64) -> String),
        ("CPU time", manifest.cpu_time_us, granted.cpu_time_us, micros),
        ("wall time", manifest.wall_time_us, granted.wall_time_us, micros),
    ]
    .into_iter()
    .find(|(_, asked, granted, _)| asked > granted)
    .map(|(what, asked, granted, show)| {
        format!(
            "unsigned, it gets at most {} of {what}, and asks for {}; sign it, or ask for less",
            show(granted),
            show(asked)
        )
    })
}

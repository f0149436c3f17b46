//! `denali status`, `list` and `cancel`: where jobs stand.

use super::{
    connect::{self, Connected},
    failure::Hint,
    print,
    runtime::block_on,
    submit::job_id,
    units,
};
use crate::client::session::{SessionError, printable};
use denali_protocol::{
    job::JobId,
    wire::message::{JobStatus, RefusalKind},
};
use serde::Serialize;
use std::process::ExitCode;

/// Show where a job stands, or, without one, what a node is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  denali status hello-0123456789abcdef --node 127.0.0.1:4900\n  \
                        denali status --node 127.0.0.1:4900")]
pub(crate) struct StatusArgs {
    /// The job or array.
    #[arg(value_parser = job_id)]
    job: Option<JobId>,
    #[command(flatten)]
    connect: connect::NodeArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// List the jobs that this client has at a node.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali list --node 127.0.0.1:4900 --json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    connect: connect::NodeArgs,
    /// Print one line of JSON for each job.
    #[arg(long)]
    json: bool,
}

/// Cancel a job: end what runs, and do not start what waits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali cancel hello-0123456789abcdef --node 127.0.0.1:4900")]
pub(crate) struct CancelArgs {
    /// The job or array.
    #[arg(value_parser = job_id)]
    job: JobId,
    #[command(flatten)]
    connect: connect::NodeArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct StatusLine {
    job: String,
    state: &'static str,
    name: String,
    bundle: String,
    queued: u32,
    running: u32,
    succeeded: u32,
    failed: u32,
    accepted_unix_ms: u64,
}

impl From<&JobStatus> for StatusLine {
    fn from(status: &JobStatus) -> Self {
        Self {
            job: status.job.to_string(),
            state: state(status),
            name: printable(&status.name),
            bundle: status.bundle.to_string(),
            queued: status.queued,
            running: status.running,
            succeeded: status.succeeded,
            failed: status.failed,
            accepted_unix_ms: status.accepted_unix_ms,
        }
    }
}

/// One word for where a job stands.
fn state(status: &JobStatus) -> &'static str {
    match status {
        JobStatus { running: 1.., .. } => "running",
        JobStatus { queued: 1.., succeeded: 0, failed: 0, .. } => "queued",
        JobStatus { queued: 1.., .. } => "running",
        JobStatus { failed: 1.., .. } => "failed",
        _ => "succeeded",
    }
}

/// How many jobs a submission has.
pub(crate) fn jobs(status: &JobStatus) -> u32 {
    [status.queued, status.running, status.succeeded, status.failed].into_iter().fold(0, u32::saturating_add)
}

/// How many of them have not ended.
pub(crate) fn pending(status: &JobStatus) -> u32 {
    status.queued.saturating_add(status.running)
}

pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let Some(job) = &args.job else { return node_status(args).await };
        let question = async |connected: &Connected| connected.session.status(job).await;
        let (connected, status) = connect::ask(&args.connect, question, SessionError::is_transient).await?;
        connected.session.close().await;
        show(&known(status, job, &connected.options)?, args.json)
    })
}

#[derive(Serialize)]
struct NodeLine {
    node: String,
    version: String,
    cpu: String,
    slots: u32,
    jail_lacks: Vec<String>,
    unbounded: Option<String>,
}

async fn node_status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let connected = connect::connect(&args.connect).await?;
    let info = connected.session.info().await?;
    connected.session.close().await;
    let line = NodeLine {
        node: info.node.to_string(),
        version: printable(&info.version),
        cpu: info.cpu.to_string(),
        slots: info.slots,
        jail_lacks: info.jail_lacks.iter().map(|lack| printable(lack)).collect(),
        unbounded: info.unbounded.as_deref().map(printable),
    };
    if args.json {
        print::json(&line)?;
        return Ok(ExitCode::SUCCESS);
    }
    print::line(format!("node     {}", line.node))?;
    print::line(format!("version  {}", line.version))?;
    print::line(format!("cpu      {}", line.cpu))?;
    print::line(format!("slots    {}", line.slots))?;
    if line.jail_lacks.is_empty() {
        print::line("jail     whole")?;
    }
    for lack in &line.jail_lacks {
        print::line(format!("jail     lacks {lack}"))?;
    }
    match &line.unbounded {
        None => print::line("limits   of a control group for each worker")?,
        Some(why) => print::line(format!("limits   of no control group: {why}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cancel(args: &CancelArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let question = async |connected: &Connected| connected.session.cancel(&args.job).await;
        let (connected, status) = connect::ask(&args.connect, question, SessionError::is_transient).await?;
        connected.session.close().await;
        show(&known(status, &args.job, &connected.options)?, args.json)
    })
}

/// Adds advice where a node does not know a job.
pub(crate) fn known<T>(answer: Result<T, SessionError>, job: &JobId, options: &str) -> anyhow::Result<T> {
    match answer {
        Err(error @ SessionError::Refused(_)) => {
            let SessionError::Refused(refusal) = &error else { return Err(error.into()) };
            match refusal.kind {
                RefusalKind::NotFound => {
                    let hint = "a node shows a job only to the key that submitted it; see: denali list";
                    Err(error).hint(format!("{hint} {options}"))
                }
                RefusalKind::NotReady => Err(error).hint(format!("wait for it: denali logs {job} -f {options}")),
                _ => Err(error.into()),
            }
        }
        answer => Ok(answer?),
    }
}

fn show(status: &JobStatus, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print::json(&StatusLine::from(status))?;
    } else {
        print::line(HEADER)?;
        print::line(row(status))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    block_on(async {
        let connected = connect::connect(&args.connect).await?;
        let (mut after, mut more, mut any) = (None, true, false);
        while more {
            let page;
            (page, more) = connected.session.list(after).await?;
            after = page.last().map(|status| status.job.clone());
            for status in &page {
                if args.json {
                    print::json(&StatusLine::from(status))?;
                    continue;
                }
                if !std::mem::replace(&mut any, true) {
                    print::line(HEADER)?;
                }
                print::line(row(status))?;
            }
        }
        connected.session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

const HEADER: &str = "STATE      QUEUED RUNNING SUCCEEDED  FAILED  ACCEPTED              JOB";

fn row(status: &JobStatus) -> String {
    let JobStatus { job, queued, running, succeeded, failed, accepted_unix_ms, .. } = status;
    let accepted = units::show_time(*accepted_unix_ms);
    format!("{:<9} {queued:>7} {running:>7} {succeeded:>9} {failed:>7}  {accepted:<20}  {job}", state(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::digest::Digest;

    #[test]
    fn states_follow_the_counts() {
        let status = |queued, running, succeeded, failed| JobStatus {
            job: "j".parse().unwrap(),
            bundle: Digest::of(b""),
            name: "n".to_owned(),
            queued,
            running,
            succeeded,
            failed,
            accepted_unix_ms: 0,
        };
        assert_eq!(state(&status(1, 0, 0, 0)), "queued");
        assert_eq!(state(&status(1, 0, 1, 0)), "running");
        assert_eq!(state(&status(0, 1, 0, 1)), "running");
        assert_eq!(state(&status(0, 0, 5, 1)), "failed");
        assert_eq!(state(&status(0, 0, 5, 0)), "succeeded");
        assert_eq!(jobs(&status(1, 2, 3, u32::MAX)), u32::MAX);
    }
}

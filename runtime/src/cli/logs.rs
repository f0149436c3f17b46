//! `denali logs`: what jobs wrote on standard output and standard error.

use super::{
    connect::{self, Connected},
    lines::{Lines, void_note},
    print,
    query::{self, jobs, known},
    result_line::text_or_base64,
    runtime::block_on,
    submit::job_id,
    units,
};
use crate::client::{
    collect::{Jobs, Seen},
    open_job::Kept,
    watch::{Step, Watch},
};
use denali_protocol::job::{Channel, JobId};
use serde::Serialize;
use std::{process::ExitCode, time::Duration};

/// Without -f, a node that sends nothing for so long has sent all there is.
const QUIET: Duration = Duration::from_millis(500);

/// Show what a job wrote; of an array, each line with its index.
///
/// Output that is shown before its job ended can't be verified yet; when it ends, it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali logs hello-0123456789abcdef -f --node 127.0.0.1:4900")]
pub(crate) struct Args {
    /// The job or array.
    #[arg(value_parser = job_id)]
    job: JobId,
    #[command(flatten)]
    connect: connect::NodeArgs,
    /// Go on until all jobs have ended.
    #[arg(long, short)]
    follow: bool,
    /// Only this index of an array.
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Print one line of JSON for each piece of output.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Piece<'a> {
    job: &'a JobId,
    index: u32,
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let connected = connect::connect(&args.connect).await?;
        let shown = show(args, &connected).await;
        connected.session.close().await;
        shown.map(|()| ExitCode::SUCCESS)
    })
}

async fn show(args: &Args, connected: &Connected) -> anyhow::Result<()> {
    let status = known(connected.session.status(&args.job).await, &args.job, &connected.options)?;
    let follow = args.follow || query::pending(&status) == 0;
    let events = connected.session.follow(&args.job).await?;
    let expectation = connected.expectation(args.job.clone(), Some(status.bundle));
    let session = connected.session.clone();
    let mut watch =
        Watch::new(&connected.target, &connected.key, session, events, expectation, Jobs::Counted(jobs(&status)));
    let mut lines = Lines::new(jobs(&status) > 1 && args.index.is_none());
    loop {
        let step = if follow {
            watch.next().await?
        } else {
            match tokio::time::timeout(QUIET, watch.next()).await {
                Ok(step) => step?,
                Err(_) => break,
            }
        };
        match step {
            Step::Seen(Seen::Done) => break,
            Step::Seen(seen) => show_one(args, seen, &mut lines)?,
            Step::Lost { why, wait } => {
                print::note(format!("denali: {why}; trying again in {}", units::show_micros(units::micros(wait))));
            }
            Step::Found => print::note("denali: connected again"),
        }
    }
    if !follow && print::watched() {
        print::note("denali: not all has ended; -f follows it");
    }
    Ok(())
}

fn show_one(args: &Args, seen: Seen, lines: &mut Lines) -> anyhow::Result<()> {
    let wanted = |index| args.index.is_none_or(|only| only == index);
    match seen {
        Seen::Started { index, again } if again && wanted(index) => {
            lines.forget(index);
            print::note(format!("denali: index {index} starts again: its VM was lost, and its output so far is void"));
        }
        Seen::Output { index, channel, bytes, void } if wanted(index) => {
            if let Some(void) = void.filter(|_| !matches!(channel, Channel::File(_))) {
                lines.void(index, &channel);
                print::note(void_note(index, void));
            }
            if args.json { piece(&args.job, index, &channel, bytes)? } else { lines.put(index, &channel, &bytes)? }
        }
        Seen::Ended(finished) if wanted(finished.result.index) => {
            let index = finished.result.index;
            if let Some(void) = finished.void {
                print::note(void_note(index, void));
                if args.json {
                    piece(&args.job, index, &Channel::Output, finished.stdout.bytes)?;
                    piece(&args.job, index, &Channel::Error, finished.stderr.bytes)?;
                    return Ok(());
                }
                lines.anew(&finished)?;
            }
            lines.end(index)?;
        }
        _ => {}
    }
    Ok(())
}

fn piece(job: &JobId, index: u32, channel: &Channel, bytes: Vec<u8>) -> anyhow::Result<()> {
    let channel = match channel {
        Channel::Output => "stdout",
        Channel::Error => "stderr",
        Channel::File(_) => return Ok(()),
    };
    let kept = Kept { bytes, truncated: false };
    let (text, base64) = text_or_base64(&kept);
    print::json(&Piece { job, index, channel, text, base64 })
}

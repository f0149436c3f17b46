//! `denali result`: the outputs of jobs that ended, verified before they are shown.

use super::{
    advice::{self, Origin},
    connect::{self, Connected},
    failure::{fail, writing},
    keep::{self, Keep, KeepArgs},
    print,
    query::{jobs, known, pending},
    result_line::ResultLine,
    runtime::block_on,
    submit::job_id,
    wait::{Show, Waiter},
};
use crate::client::{
    check::Expectation,
    collect::{Finished, Jobs},
    fetch::{FetchError, Fetched, fetch},
    open_job::{KEPT_BYTES, Kept},
    session::SessionError,
    watch::Watch,
};
use anyhow::Context;
use denali_protocol::{
    job::{Channel, JobId},
    wire::message::{JobStatus, RefusalKind},
};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    process::ExitCode,
};

/// Fetch the outputs of a job that ended, and exit with its status.
///
/// Its standard output and standard error are written to this command's. Of an array without --index, all results are
/// verified: use --json, -o or --receipts to keep them, and the exit status is 0 if every job exited with 0, else 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali result render-0123456789abcdef --index 7 -o out/ --node 127.0.0.1:4900")]
pub(crate) struct Args {
    /// The job or array.
    #[arg(value_parser = job_id)]
    job: JobId,
    #[command(flatten)]
    connect: connect::NodeArgs,
    /// Only this index of an array.
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Print one line of JSON for each job.
    #[arg(long)]
    json: bool,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let (connected, found) = connect::ask(
            &args.connect,
            async |connected: &Connected| find(args, connected).await,
            FetchError::is_transient,
        )
        .await?;
        let status = result(args, &connected, found).await;
        connected.session.close().await;
        Ok(ExitCode::from(status?))
    })
}

/// What a node has of a job.
enum Found {
    /// The result of one of its indices.
    One(Box<Fetched>),
    /// Results of an array, to be shown as they come.
    Many(Expectation, u32),
    /// An array of which so many have not ended.
    Unfinished(JobStatus),
}

async fn find(args: &Args, connected: &Connected) -> Result<Found, FetchError> {
    let status = connected.session.status(&args.job).await?;
    let expectation = connected.expectation(args.job.clone(), Some(status.bundle));
    let index = match args.index {
        None if jobs(&status) == 1 => 0,
        Some(index) => index,
        None if pending(&status) > 0 => return Ok(Found::Unfinished(status)),
        None => return Ok(Found::Many(expectation, jobs(&status))),
    };
    match fetch(&connected.session, &expectation, index, args.keep.keep().limit_bytes).await {
        // The one job of an array with another index.
        Err(FetchError::Session(SessionError::Refused(refusal)))
            if args.index.is_none() && refusal.kind == RefusalKind::NotFound =>
        {
            Ok(Found::Many(expectation, 1))
        }
        fetched => Ok(Found::One(Box::new(fetched?))),
    }
}

async fn result(args: &Args, connected: &Connected, found: Result<Found, FetchError>) -> anyhow::Result<u8> {
    let (job, keep) = (&args.job, args.keep.keep());
    match found {
        Ok(Found::One(fetched)) => show(args, *fetched, &keep),
        Ok(Found::Many(expectation, jobs)) => whole_array(args, connected, &expectation, &keep, jobs).await,
        Ok(Found::Unfinished(status)) => fail(
            format!("{} of {} jobs have not ended", pending(&status), jobs(&status)),
            format!("give --index N for one that has, or wait: denali logs {job} -f {}", connected.options),
        ),
        Err(FetchError::Session(error)) => known(Err(error), job, &connected.options),
        Err(error) => keep::advised(Err(error)),
    }
}

/// All results of an array, as if it had just been waited for.
async fn whole_array(
    args: &Args,
    connected: &Connected,
    expectation: &Expectation,
    keep: &Keep,
    jobs: u32,
) -> anyhow::Result<u8> {
    let show = if args.json { Show::Json } else { Show::Summary };
    let waiter = Waiter::new(show, true, jobs, keep, expectation);
    let events = connected.session.follow(&args.job).await?;
    let session = connected.session.clone();
    let mut watch =
        Watch::new(&connected.target, &connected.key, session, events, expectation.clone(), Jobs::Counted(jobs));
    waiter.run(&mut watch, connected).await
}

fn show(args: &Args, mut fetched: Fetched, keep: &Keep) -> anyhow::Result<u8> {
    let result = fetched.result.clone();
    keep.receipt(&args.job, result.index, &result.receipt)?;
    if args.json {
        print::json(&ResultLine::new(&args.job, &finished(&mut fetched)?))?;
    } else {
        for (channel, bytes) in &mut fetched.outputs {
            match channel {
                Channel::Output => copy(bytes, &mut io::stdout().lock())?,
                Channel::Error => copy(bytes, &mut io::stderr().lock())?,
                Channel::File(_) => {}
            }
        }
        if let Some(reason) = advice::reason(&result.outcome) {
            print::note(format!("denali: {reason}"));
        }
        if let Some(hint) = advice::hint(&result.outcome, Origin::Bundle) {
            print::note(format!("hint: {hint}"));
        }
    }
    if let Some(directory) = &keep.outputs {
        keep::files(directory, &mut fetched)?;
    }
    Ok(result.outcome.exit_status())
}

fn copy(bytes: &mut File, stream: &mut impl Write) -> anyhow::Result<()> {
    io::copy(bytes, stream).and_then(|_| stream.flush()).map_err(writing)
}

/// The result with the start of its standard output and standard error.
fn finished(fetched: &mut Fetched) -> anyhow::Result<Finished> {
    let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
    for (channel, bytes) in &mut fetched.outputs {
        let kept = match channel {
            Channel::Output => &mut stdout,
            Channel::Error => &mut stderr,
            Channel::File(_) => continue,
        };
        let mut start = Vec::new();
        bytes.take(KEPT_BYTES as u64 + 1).read_to_end(&mut start).context("cannot read the fetched outputs")?;
        kept.add(&start);
        bytes.rewind()?;
    }
    Ok(Finished { result: fetched.result.clone(), statement: fetched.statement.clone(), stdout, stderr, void: None })
}

//! `denali demo`: the whole story on one machine. A node, keys, a signed bundle, an array of 64 jobs over QUIC, a VM
//! for each, verified receipts, and a picture.

use super::{
    clock::unix_now_s,
    distribution::Distribution,
    mosaic::Mosaic,
    node_process::NodeProcess,
    print,
    program::Program,
    runtime::{Interrupt, block_on},
    samples,
    submission::Submission,
    units, wait, write,
};
use crate::{
    client::{
        collect::{Finished, Jobs, Seen},
        session::Session,
        watch::{Step, Watch},
    },
    key_file,
};
use anyhow::{bail, ensure};
use denali_protocol::{
    bundle::BundleSignature,
    identity::KeyPair,
    job::{Indices, Outcome},
};
use serde::Serialize;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::time::Instant;

/// Tiles a side: the array has as many jobs as tiles.
const TILES: usize = 8;
/// Pixels a side.
const SIZE: usize = 1024;

/// Play the whole story on this machine: a node, a signed bundle, 64 jobs in 64 VMs, receipts, and a picture.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali demo --out mandelbrot.png")]
pub(crate) struct Args {
    /// Where to write the picture.
    #[arg(long, value_name = "FILE", default_value = "mandelbrot.png")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What happened. Numbers of VMs and jobs are those of the node's verified receipts.
#[derive(Serialize)]
struct Story<'a> {
    picture: &'a Path,
    jobs: usize,
    vms: usize,
    receipts_verified: usize,
    vm_start_p50_us: u64,
    vm_start_p99_us: u64,
    job_p50_us: u64,
    job_p99_us: u64,
    cpu_us: u64,
    elapsed_us: u64,
    node: String,
    job: String,
    bundle: String,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let mut interrupt = Interrupt::catch()?;
        tokio::select! {
            played = play(args) => played,
            () = interrupt.next() => bail!("interrupted"),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A line of the story, for a person who watches.
fn tell(args: &Args, text: String) {
    if !args.json && print::watched() {
        print::note(text);
    }
}

async fn play(args: &Args) -> anyhow::Result<()> {
    let signer = key_file::generate()?;
    let node = NodeProcess::start(signer.public()).await?;
    tell(args, format!("node     {}", node.target()));
    let played = submit(args, &node, &signer).await;
    node.stop().await;
    let (submission, finished, elapsed_us) = played?;

    let mut mosaic = Mosaic::new(SIZE, TILES);
    for job in &finished {
        ensure!(job.result.outcome == Outcome::Exited(0), "tile {}: {}", job.result.index, job.result.outcome);
        mosaic.place(job.result.index as usize, &job.stdout.bytes)?;
    }
    write::replace(&args.out, &mosaic.png()?)?;
    let story = story(args, &submission, &finished, elapsed_us);
    if args.json { print::json(&story) } else { show(&story) }
}

/// Submits the array, and waits for its end. Gives the verified results, and how long it took.
async fn submit(args: &Args, node: &NodeProcess, signer: &KeyPair) -> anyhow::Result<(Submission, Vec<Finished>, u64)> {
    let client = key_file::generate()?;
    let mut program = Program::from_content(samples::named("mandelbrot")?, Vec::new())?;
    program.signatures.push(BundleSignature::sign(&program.digest, signer, unix_now_s() + 3600));
    tell(args, format!("bundle   {} signed by {}", program.digest, signer.public().short()));

    let jobs = TILES * TILES;
    let indices = Indices { first: 0, last: jobs as u32 - 1 };
    let arguments = vec!["{index}".to_owned(), TILES.to_string(), SIZE.to_string()];
    let submission = Submission::new(program, None, arguments, indices, Vec::new(), true)?;
    tell(args, format!("job      {} with {jobs} tiles", submission.request.job));

    let started = Instant::now();
    let session = Session::open(node.target(), &client).await?;
    let (_, events) = session.submit(&submission.request, &submission.input, &submission.program.content).await?;
    let expectation = submission.expectation(node.target().node, client.public());
    let mut watch = Watch::new(node.target(), &client, session, events, expectation, Jobs::Known(indices));
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { wait::bar(indices.count()) };
    let mut finished = Vec::new();
    loop {
        match watch.next().await? {
            Step::Seen(Seen::Done) => break,
            Step::Seen(Seen::Ended(job)) => {
                finished.push(*job);
                bar.inc(1);
            }
            Step::Lost { why, .. } => return Err(why.into()),
            _ => {}
        }
    }
    bar.finish_and_clear();
    Ok((submission, finished, units::micros(started.elapsed())))
}

fn story<'a>(args: &'a Args, submission: &Submission, finished: &[Finished], elapsed_us: u64) -> Story<'a> {
    let usages = || finished.iter().map(|job| &job.statement.usage);
    let starts = Distribution::of(usages().map(|usage| usage.start_us).collect());
    let runs = Distribution::of(usages().map(|usage| usage.wall_us).collect());
    let vms: HashSet<_> = finished.iter().filter_map(|job| job.statement.vm).collect();
    Story {
        picture: &args.out,
        jobs: finished.len(),
        vms: vms.len(),
        receipts_verified: finished.len(),
        vm_start_p50_us: starts.median(),
        vm_start_p99_us: starts.percentile(99),
        job_p50_us: runs.median(),
        job_p99_us: runs.percentile(99),
        cpu_us: usages().map(|usage| usage.cpu_us).sum(),
        elapsed_us,
        node: finished.first().map(|job| job.statement.node.to_string()).unwrap_or_default(),
        job: submission.request.job.to_string(),
        bundle: submission.request.bundle.to_string(),
    }
}

fn show(story: &Story) -> anyhow::Result<()> {
    let us = units::show_micros;
    for (name, value) in [
        ("picture", format!("{} ({SIZE} x {SIZE})", story.picture.display())),
        ("jobs", format!("{} ended with status 0", story.jobs)),
        ("receipts", format!("{} verified", story.receipts_verified)),
        ("VMs", format!("{} different ones, by the receipts", story.vms)),
        ("VM start", format!("{} median, {} p99", us(story.vm_start_p50_us), us(story.vm_start_p99_us))),
        ("job", format!("{} median, {} p99, first instruction to end", us(story.job_p50_us), us(story.job_p99_us))),
        ("CPU time", format!("{} in all VMs", us(story.cpu_us))),
        ("elapsed", format!("{} from connecting to the last receipt", us(story.elapsed_us))),
    ] {
        print::line(format!("{name:<10} {value}"))?;
    }
    print::line(
        "\nThe demo's node has stopped. Go on with your own:\n  \
         denali samples samples/\n  \
         denali run samples/hello.denali\n  \
         denali node --data denali-node/\n  \
         denali submit samples/mandelbrot.denali --node NODEID@127.0.0.1:4900 --array 0-63 --output-dir tiles/ \
         -- {index} 8 1024",
    )
}

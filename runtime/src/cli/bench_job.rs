//! `denali bench job`: how fast whole jobs are, from a client over QUIC through a node and a worker to a VM and back.

use super::{
    clock::unix_now_s,
    distribution::Distribution,
    host::Host,
    node_process::NodeProcess,
    plot::{self, Axis, Chart, Series},
    print,
    program::Program,
    runtime::block_on_one_thread,
    samples,
    submission::Submission,
    units, wait,
};
use crate::{
    client::{
        collect::{Finished, Jobs, Seen},
        session::Session,
        target::Target,
        watch::{Step, Watch},
    },
    key_file,
};
use anyhow::{Context, ensure};
use denali_protocol::{
    bundle::BundleSignature,
    identity::KeyPair,
    job::{Indices, Outcome},
};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// Bytes of one echo.
const ECHO_BYTES: usize = 1024;
/// Jobs and echoes that are not counted: the first ones find nothing warm.
const WARM_UP: usize = 8;

/// Measure whole jobs: a client, a node of its own on the loopback interface, a worker and a VM for each job.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali bench job --json")]
pub(crate) struct Args {
    /// Echoes, one after the other.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    echoes: u32,
    /// Jobs, one after the other.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    jobs: u32,
    /// Jobs with --in-flight of them at once.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    burst: u32,
    /// How many jobs are on their way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=200))]
    in_flight: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
    /// Also draw how jobs and echoes are distributed, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Serialize)]
struct Measured {
    quic_echo_us: u64,
    job_p50_us: u64,
    job_p99_us: u64,
    jobs_per_s: u64,
    host: Host,
    kernel: String,
}

/// Microseconds, each.
struct Latencies {
    echoes: Distribution,
    jobs: Distribution,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let (measured, latencies) = block_on_one_thread(async {
        let key = key_file::generate()?;
        let node = NodeProcess::start(key.public()).await?;
        let measured = measure(args, &node, key).await;
        node.stop().await;
        measured
    })?;
    if let Some(path) = &args.plot {
        plot::lines(path, &figure(&latencies, &measured.host))?;
    }
    if args.json {
        print::json(&measured)?;
    } else {
        let Measured { quic_echo_us, job_p50_us, job_p99_us, jobs_per_s, host, .. } = &measured;
        let in_flight = args.in_flight;
        print::line(format!("echo of 1 KiB on a fresh stream  {quic_echo_us} us (median)"))?;
        print::line(format!("job, submit to verified result   {job_p50_us} us (median), {job_p99_us} us (p99)"))?;
        print::line(format!("jobs, {in_flight} in flight              {jobs_per_s} a second"))?;
        print::line(format!("on                               {host}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn figure(latencies: &Latencies, host: &Host) -> Chart {
    let series = |name: &str, distribution: &Distribution| {
        let median = units::show_micros(distribution.median()).replace(" us", " µs");
        Series { name: format!("{name}: median {median}"), points: distribution.curve() }
    };
    Chart {
        title: "A whole job, from submission to verified result".to_owned(),
        x: Axis::log("time, µs"),
        y: Axis::linear("took no longer, %").showing(&[0.0, 100.0]),
        series: vec![series("job", &latencies.jobs), series("echo of 1 KiB over QUIC", &latencies.echoes)],
        note: host.to_string(),
    }
}

/// The one client of the measurement.
struct Bench {
    node: Target,
    key: KeyPair,
    session: Session,
    program: Program,
}

async fn measure(args: &Args, node: &NodeProcess, key: KeyPair) -> anyhow::Result<(Measured, Latencies)> {
    let mut program = Program::from_content(samples::named("hello")?, Vec::new())?;
    program.signatures.push(BundleSignature::sign(&program.digest, &key, unix_now_s() + 3600));
    let session = Session::open(node.target(), &key).await?;
    let bench = Arc::new(Bench { node: node.target().clone(), key, session, program });

    let bar = wait::bar(args.echoes + args.jobs + args.burst);
    let mut echoes = Vec::new();
    for count in 0..WARM_UP + args.echoes as usize {
        let started = Instant::now();
        bench.session.echo(vec![0x5a; ECHO_BYTES]).await?;
        note(&mut echoes, count, started.elapsed());
        bar.inc(1);
    }
    let mut jobs = Vec::new();
    for count in 0..WARM_UP + args.jobs as usize {
        let started = Instant::now();
        bench.job().await?;
        note(&mut jobs, count, started.elapsed());
        bar.inc(1);
    }
    let jobs_per_s = burst(&bench, args, &bar).await?;
    bar.finish_and_clear();

    let (echoes, jobs) = (Distribution::of(echoes), Distribution::of(jobs));
    let measured = Measured {
        quic_echo_us: echoes.median(),
        job_p50_us: jobs.median(),
        job_p99_us: jobs.percentile(99),
        jobs_per_s,
        host: Host::describe(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
    };
    Ok((measured, Latencies { echoes, jobs }))
}

fn note(measured: &mut Vec<u64>, count: usize, elapsed: Duration) {
    if count >= WARM_UP {
        measured.push(units::micros(elapsed));
    }
}

/// Runs many jobs with a bounded number on their way. Gives how many ended a second.
async fn burst(bench: &Arc<Bench>, args: &Args, bar: &indicatif::ProgressBar) -> anyhow::Result<u64> {
    let permits = Arc::new(Semaphore::new(args.in_flight as usize));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..args.burst {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let (bench, bar) = (Arc::clone(bench), bar.clone());
        tasks.spawn(async move {
            let done = bench.job().await;
            bar.inc(1);
            drop(permit);
            done
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a job's task failed")??;
    }
    Ok((f64::from(args.burst) / started.elapsed().as_secs_f64()).round() as u64)
}

impl Bench {
    /// Submits one job, attached, and waits for its verified result.
    async fn job(&self) -> anyhow::Result<()> {
        let submission = Submission::new(self.program.clone(), None, Vec::new(), Indices::SINGLE, Vec::new(), true)?;
        let (_, events) =
            self.session.submit(&submission.request, &submission.input, &submission.program.content).await?;
        let expectation = submission.expectation(self.node.node, self.key.public());
        let jobs = Jobs::Known(submission.request.indices);
        let mut watch = Watch::new(&self.node, &self.key, self.session.clone(), events, expectation, jobs);
        loop {
            match watch.next().await? {
                Step::Seen(Seen::Done) => return Ok(()),
                Step::Seen(Seen::Ended(finished)) => succeeded(&finished)?,
                Step::Lost { why, .. } => return Err(why.into()),
                _ => {}
            }
        }
    }
}

/// Only jobs that did their work count.
fn succeeded(finished: &Finished) -> anyhow::Result<()> {
    let outcome = &finished.result.outcome;
    ensure!(*outcome == Outcome::Exited(0), "a job of the measurement failed: {outcome}");
    Ok(())
}

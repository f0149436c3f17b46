//! `denali run`: one job in one VM on this machine, without a node. Standard input, output and error are the job's.

use super::{
    advice::{self, Origin},
    clock::unix_now_s,
    directory::Directory,
    facts::Facts,
    failure::{self, Hint, fail},
    outputs::{self, OutputLine, Outputs},
    print,
    program::{Extras, Needs, Program},
    runtime::{Interrupt, block_on},
    units, write,
};
use crate::worker::{Death, Reports, SpawnError, Worker};
use anyhow::Context;
use denali_protocol::{
    bundle::verify_signatures,
    job::{Channel, Limits, Outcome, OutputDigests, Usage, VmId},
    wire::message::check_arguments,
};
use denali_vmm::worker::message::{Input, Report, RunId, Start};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Run a program in a fresh VM on this machine.
///
/// Standard input, output and error are the job's, and so is the exit status; `denali --help` lists the others. Ctrl-C
/// cancels the job.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  echo hello | denali run echo.denali --cpu-time 1s\n  \
                        denali run /usr/bin/sort --files words.txt -r words.txt")]
pub(crate) struct Args {
    /// A bundle, or a program: an ELF file for x86-64 Linux, or for the Denali VM.
    file: PathBuf,
    #[command(flatten)]
    needs: Needs,
    #[command(flatten)]
    extras: Extras,
    /// Output that the job may write, all together.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = units::bytes)]
    output_limit: u64,
    /// Write a report as JSON: how the job ended, what it used, what it put out.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the job's named output files below this directory.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Let output files take the place of files that are there.
    #[arg(long)]
    force: bool,
    /// The job's arguments: all from the first that is no option of denali's, or after a --.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    arguments: Vec<String>,
}

/// The one run of the worker.
const RUN: RunId = RunId(1);

/// How long a cancelled run may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How the run went.
struct Ended {
    outcome: Outcome,
    usage: Usage,
    vm: Option<VmId>,
    outputs: OutputDigests,
}

#[derive(Serialize)]
struct ReportFile<'a> {
    bundle: String,
    name: &'a str,
    #[serde(flatten)]
    facts: Facts,
    output: String,
    outputs: Vec<OutputLine>,
    /// Always null: no node ran the job, so none signs for it.
    receipt: Option<String>,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let program = Program::read(&args.file, &args.needs, &args.extras)?;
    check_arguments(&args.arguments)?;
    let limits = limits(&program, args)?;
    // It is run all the same: whose program to run on this machine is its user's own decision.
    if let Err(error) = verify_signatures(&program.digest, &program.signatures, unix_now_s()) {
        print::note(format!("denali: warning: nodes would refuse this bundle: {error}"));
    }
    let ended = block_on(run(args, &program, limits))?;
    if let Some(path) = &args.report {
        let report = ReportFile {
            bundle: program.digest.to_string(),
            name: &program.manifest.name,
            facts: Facts::new(&ended.outcome, &ended.usage, ended.vm),
            output: ended.outputs.digest().to_string(),
            outputs: outputs::lines(&ended.outputs),
            receipt: None,
        };
        write::replace(path, format!("{}\n", serde_json::to_string_pretty(&report)?).as_bytes())?;
    }
    explain(&ended.outcome);
    Ok(ExitCode::from(ended.outcome.exit_status()))
}

/// One line why a job did not exit by itself, and what to do.
fn explain(outcome: &Outcome) {
    if let Some(reason) = advice::reason(outcome) {
        print::note(format!("denali: {reason}"));
    }
    if let Some(hint) = advice::hint(outcome, Origin::Options) {
        print::note(format!("hint: {hint}"));
    }
}

/// The manifest's limits, with the options in their place.
fn limits(program: &Program, args: &Args) -> anyhow::Result<Limits> {
    let mut manifest = program.manifest.clone();
    if let Some(cpu) = args.needs.cpu.filter(|cpu| *cpu != manifest.cpu) {
        return fail(format!("the bundle is for {}, not {cpu}", manifest.cpu), "pack it again with another --cpu");
    }
    manifest.memory_bytes = args.needs.memory.unwrap_or(manifest.memory_bytes);
    manifest.cpu_time_us = args.needs.cpu_time.map_or(manifest.cpu_time_us, units::micros);
    manifest.wall_time_us = args.needs.wall_time.map_or(manifest.wall_time_us, units::micros);
    manifest.check()?;
    Ok(Limits {
        memory_bytes: manifest.memory_bytes,
        cpu_time_us: manifest.cpu_time_us,
        wall_time_us: manifest.wall_time_us,
        output_bytes: args.output_limit,
    })
}

async fn run(args: &Args, program: &Program, limits: Limits) -> anyhow::Result<Ended> {
    let mut interrupt = Interrupt::catch()?;
    let (worker, reports) = spawn().await?;
    let start = Start {
        run: RUN,
        bundle: program.digest,
        arguments: args.arguments.clone(),
        limits,
        input: Input::Descriptor,
        reimage: false,
    };
    let input = io::stdin().as_fd().try_clone_to_owned().context("cannot pass on standard input")?;
    let bundle = sealed(&program.content).context("cannot put the bundle into memory")?;
    worker.start(start, bundle, Some(input))?;

    let directory = args.output_dir.clone().map(|path| Directory::new(path, args.force));
    let mut watched = Box::pin(watch(&worker, reports, Outputs::new(directory)));
    tokio::select! {
        ended = &mut watched => return Ok(ended??),
        () = interrupt.next() => {}
    }
    // The terminal's Ctrl-C reaches the worker too, so it may be dead already: cancelled in either case.
    let _ = worker.cancel(RUN);
    tokio::select! {
        ended = watched => ended?.or_else(|_: Death| Ok(cancelled())),
        () = interrupt.next() => Ok(cancelled()),
    }
}

fn cancelled() -> Ended {
    Ended { outcome: Outcome::Cancelled, usage: Usage::default(), vm: None, outputs: OutputDigests::default() }
}

async fn spawn() -> anyhow::Result<(Worker, Reports)> {
    match Worker::spawn().await {
        Err(error @ SpawnError::NotReady(_)) => {
            Err(error).context("this machine cannot run VMs").hint("find out what it lacks with: denali doctor")
        }
        spawned => Ok(spawned?),
    }
}

/// A descriptor with `content` that can be mapped and will not change any more.
pub(crate) fn sealed(content: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("denali-bundle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(content)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Passes on the job's output until it ends. The outer error is denali's, the inner one the worker's death.
async fn watch(worker: &Worker, mut reports: Reports, mut outputs: Outputs) -> anyhow::Result<Result<Ended, Death>> {
    let mut terminal = Terminal { stdout: tokio::io::stdout(), stderr: tokio::io::stderr() };
    let mut vm = None;
    loop {
        match reports.next().await {
            Ok(Report::Started { vm: started, .. }) => vm = Some(started),
            Ok(Report::Output { channel, bytes, .. }) => {
                let put = match outputs.add(&channel, &bytes) {
                    Ok(()) => terminal.put(&channel, &bytes).await,
                    failed => failed,
                };
                if let Err(error) = put {
                    end(worker, reports).await;
                    return Err(error);
                }
            }
            Ok(Report::Ended { outcome, usage, .. }) => {
                return Ok(Ok(Ended { outcome, usage, vm, outputs: outputs.finish()? }));
            }
            Ok(Report::Ready(_) | Report::Progress { .. } | Report::Status(_)) => {}
            Err(death) => return Ok(Err(death)),
        }
    }
}

/// Ends a run whose output nobody takes any more, so that the worker ends in order and has nothing to complain about.
async fn end(worker: &Worker, mut reports: Reports) {
    let _ = worker.cancel(RUN);
    let drained = async { while !matches!(reports.next().await, Ok(Report::Ended { .. }) | Err(_)) {} };
    let _ = tokio::time::timeout(END_TIMEOUT, drained).await;
}

/// The streams of this process.
struct Terminal {
    stdout: tokio::io::Stdout,
    stderr: tokio::io::Stderr,
}

impl Terminal {
    /// Writes a piece of the job's output to where it belongs.
    async fn put(&mut self, channel: &Channel, bytes: &[u8]) -> anyhow::Result<()> {
        match channel {
            Channel::Output => put(&mut self.stdout, bytes).await,
            Channel::Error => put(&mut self.stderr, bytes).await,
            Channel::File(_) => Ok(()),
        }
    }
}

async fn put(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> anyhow::Result<()> {
    stream.write_all(bytes).await.map_err(failure::writing)?;
    stream.flush().await.map_err(failure::writing)
}

//! `denali submit`: hands a job or an array of jobs to a node, and waits for it if asked to.

use super::{
    connect::{self, Connected},
    dry_run,
    failure::{self, Hint, fail},
    keep::KeepArgs,
    print,
    program::{Extras, Needs, Program},
    runtime::{Interrupt, block_on},
    submission::Submission,
    units,
    wait::{Show, Waiter},
};
use crate::client::{
    collect::Jobs,
    session::{Events, Session, SessionError},
    watch::Watch,
};
use anyhow::Context;
use denali_protocol::{
    job::{Indices, IndicesError, JobId, ParseJobIdError},
    limits,
    wire::message::RefusalKind,
};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::time::Instant;

/// Submit a job, or an array of jobs, to a node.
///
/// Prints the job's id; --wait and --follow wait for its end and exit with the job's own status (an array: 0 if every
/// job exited with 0, else 1). Submitting twice under one --id runs once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  denali submit hello.denali --node NODEID@127.0.0.1:4900 --follow\n  \
                        denali submit tile.denali --array 0-63 --wait {index} 8 1024")]
pub(crate) struct Args {
    /// A bundle, or a program: an ELF file for x86-64 Linux, or for the Denali VM.
    file: PathBuf,
    #[command(flatten)]
    connect: connect::NodeArgs,
    #[command(flatten)]
    extras: Extras,
    #[command(flatten)]
    needs: Needs,
    /// Run one job for each index of FIRST-LAST; {index} in an argument stands for the index.
    #[arg(long, value_name = "FIRST-LAST", value_parser = indices)]
    array: Option<Indices>,
    /// Wait until all jobs have ended. Keeping receipts or outputs waits too.
    #[arg(long, conflicts_with = "follow")]
    wait: bool,
    /// Wait, and show the jobs' output as it comes; of an array, each line with its index.
    #[arg(long)]
    follow: bool,
    /// Wait, and print one line of JSON for each job as it ends.
    #[arg(long, conflicts_with = "follow")]
    json: bool,
    /// The job's name: submitting twice under one name runs once [default: a new one]
    #[arg(long, value_name = "JOBID", value_parser = job_id)]
    id: Option<JobId>,
    /// File with the jobs' input; - is standard input [default: no input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Check everything, ask the node what it grants, and submit nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the job's id, and nothing else.
    #[arg(long, conflicts_with_all = ["follow", "json", "dry_run"])]
    id_only: bool,
    /// Stop sending or waiting after this time; jobs that the node has accepted go on.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// The jobs' arguments: all from the first that is no option of denali's, or after a --.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    arguments: Vec<String>,
}

fn indices(text: &str) -> Result<Indices, String> {
    text.parse().map_err(|error: IndicesError| error.to_string())
}

/// A job's name, for clap.
pub(crate) fn job_id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|error: ParseJobIdError| error.to_string())
}

impl Args {
    fn waits(&self) -> bool {
        self.wait || self.follow || self.json || self.keep.any()
    }

    fn show(&self) -> Show {
        match self {
            Self { json: true, .. } => Show::Json,
            Self { follow: true, .. } => Show::Output,
            Self { id_only: true, .. } => Show::Nothing,
            _ => Show::Summary,
        }
    }

    fn submission(&self) -> anyhow::Result<Submission> {
        let program = Program::read(&self.file, &self.needs, &self.extras)?;
        if !self.needs.are_those_of(&program.manifest) {
            return fail(
                format!("{} is a bundle, and says itself what it needs", self.file.display()),
                "pack it again with other needs, and sign it again: denali pack BUNDLE --memory BYTES -o FILE",
            );
        }
        let input = self.input.as_deref().map(read_input).transpose()?.unwrap_or_default();
        let indices = self.array.unwrap_or(Indices::SINGLE);
        Submission::new(program, self.id.clone(), self.arguments.clone(), indices, input, self.waits())
    }
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let submission = args.submission()?;
    block_on(async {
        let connected = connect::connect(&args.connect).await?;
        let status = if args.dry_run {
            dry_run::show(&submission, &connected, args.json).await
        } else {
            submit(args, &submission, &connected).await
        };
        connected.session.close().await;
        Ok(ExitCode::from(status?))
    })
}

async fn submit(args: &Args, submission: &Submission, connected: &Connected) -> anyhow::Result<u8> {
    let job = &submission.request.job;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut interrupt = Interrupt::catch()?;
    let sent = match until(deadline, &mut interrupt, send(submission, connected)).await {
        Ok(sent) => sent?,
        Err(why) => {
            let hint =
                format!("submit it again with --id {job}: if the node has it by then, it runs once all the same");
            return fail(format!("{why}, and the node has not said that it accepts job {job}"), hint);
        }
    };
    let (session, new, events) = sent;
    if !new && !args.json {
        print::note(format!("denali: the node has job {job} already; it runs once"));
    }
    if args.id_only {
        print::line(job.as_str())?;
    }
    if args.waits() {
        let options = &connected.options;
        return match until(deadline, &mut interrupt, wait(args, submission, connected, (session, events))).await {
            Ok(status) => reachable(status, job, options),
            Err(why) => fail(
                format!("{why}; job {job} goes on"),
                format!("wait again: denali logs {job} -f {options}; end it: denali cancel {job} {options}"),
            ),
        };
    }
    if !args.id_only {
        print::line(job.as_str())?;
        for next in [format!("status {job}"), format!("logs {job} -f"), format!("result {job}")] {
            print::note(format!("next: denali {next} {}", connected.options));
        }
    }
    Ok(0)
}

/// Says where the job is that could not be waited for. Most people let denali choose its name, and have not seen it yet.
fn reachable(status: anyhow::Result<u8>, job: &JobId, options: &str) -> anyhow::Result<u8> {
    match status {
        Err(error) if failure::status(&error) != failure::CLOSED_OUTPUT => {
            Err(error).hint(format!("the node has the job; see: denali result {job} {options}"))
        }
        status => status,
    }
}

/// How often a submission is sent again over a new connection. It runs once, whatever the node got of the first.
const TRIES: u32 = 6;

async fn send(submission: &Submission, connected: &Connected) -> anyhow::Result<(Session, bool, Events)> {
    let Submission { program, request, input } = submission;
    let mut session = connected.session.clone();
    let mut wait = Duration::from_millis(200);
    for _ in 1..TRIES {
        match session.submit(request, input, &program.content).await {
            Ok((new, events)) => return Ok((session, new, events)),
            Err(why) if why.is_transient() => {
                print::note(format!(
                    "denali: {why}; sending the job again in {}",
                    units::show_micros(units::micros(wait))
                ));
            }
            Err(error) => return refused(error, &request.job),
        }
        tokio::time::sleep(wait).await;
        wait *= 3;
        match Session::open(&connected.target, &connected.key).await {
            Ok(opened) => session = opened,
            Err(why) if why.is_transient() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (new, events) = session.submit(request, input, &program.content).await?;
    Ok((session, new, events))
}

fn refused<T>(error: SessionError, job: &JobId) -> anyhow::Result<T> {
    let hint = match &error {
        SessionError::Refused(refusal) => match refusal.kind {
            RefusalKind::Denied => {
                "see what the node grants you with: denali submit --dry-run; a signed bundle may get more"
            }
            RefusalKind::Conflict => "choose another --id, or leave it out",
            RefusalKind::Busy => "try again later with the same --id, or try another node",
            _ => return Err(error.into()),
        },
        // It may be busy with other uploads of the same client.
        SessionError::Silent => return Err(error).hint(format!("try again later with --id {job}: it runs once")),
        _ => return Err(error.into()),
    };
    Err(error).hint(hint)
}

async fn wait(
    args: &Args,
    submission: &Submission,
    connected: &Connected,
    (session, events): (Session, Events),
) -> anyhow::Result<u8> {
    let request = &submission.request;
    let expectation = submission.expectation(connected.target.node, connected.key.public());
    let keep = args.keep.keep();
    let waiter = Waiter::new(args.show(), args.array.is_some(), request.indices.count(), &keep, &expectation);
    let jobs = Jobs::Known(request.indices);
    let mut watch = Watch::new(&connected.target, &connected.key, session, events, expectation.clone(), jobs);
    waiter.run(&mut watch, connected).await
}

/// Waits for `work`, but no longer than to `deadline` and no further than to Ctrl-C. Says which of them came first.
async fn until<T>(
    deadline: Option<Instant>,
    interrupt: &mut Interrupt,
    work: impl Future<Output = T>,
) -> Result<T, &'static str> {
    let expired = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => Ok(done),
        () = expired => Err("the time to wait is over"),
        () = interrupt.next() => Err("interrupted"),
    }
}

/// Reads an input, if it is no larger than one may be.
fn read_input(path: &Path) -> anyhow::Result<Vec<u8>> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
    };
    let mut input = Vec::new();
    source
        .take(limits::INPUT_BYTES + 1)
        .read_to_end(&mut input)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if input.len() as u64 > limits::INPUT_BYTES {
        let message = format!("the input is larger than {}", units::show_bytes(limits::INPUT_BYTES));
        return fail(message, "split it over the jobs of several submissions");
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::target::Target, transport::server_endpoint};
    use clap::Parser;
    use denali_protocol::identity::KeyPair;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn needs_are_those_of_a_program_and_do_not_change_a_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let (elf, bundle) = (directory.path().join("elf"), directory.path().join("bundle"));
        std::fs::write(&elf, super::super::program::tests::elf()).unwrap();
        let parse = |file: &std::path::Path, options: &[&str]| {
            let line = ["submit", "--node", "127.0.0.1:1", file.to_str().unwrap()];
            Line::try_parse_from(line.iter().chain(options)).map(|line| line.args)
        };
        assert!(parse(&elf, &["--memory", "x"]).is_err());
        let args = parse(&elf, &["--memory", "32MiB", "--wall-time", "5s", "word"]).unwrap();
        assert_eq!(args.arguments, ["word"]);
        let submission = args.submission().unwrap();
        let manifest = &submission.program.manifest;
        assert_eq!((manifest.memory_bytes, manifest.wall_time_us), (32 << 20, 5_000_000));
        std::fs::write(&bundle, denali_protocol::bundle::assemble(&submission.program.content, &[]).unwrap()).unwrap();
        let other = parse(&bundle, &["--memory", "64MiB"]).unwrap();
        let text = failure::text(&other.submission().unwrap_err()).unwrap();
        assert!(text.contains("hint: pack it again"), "{text}");
    }

    #[tokio::test]
    async fn the_time_to_wait_covers_sending() {
        let key = KeyPair::from_seed(&[1; 32]);
        let endpoint = server_endpoint("127.0.0.1:0".parse().unwrap(), &key).unwrap();
        let socket = endpoint.local_addr().unwrap();
        // Reads nothing, and answers nothing.
        tokio::spawn(async move {
            let _connection = endpoint.accept().await.unwrap().await.unwrap();
            std::future::pending::<()>().await;
        });
        let target = Target { node: key.public(), socket, address: socket.to_string(), remembered: None };
        let session = Session::open(&target, &key).await.unwrap();
        let connected = Connected { target, key, session, options: String::new() };

        let program = Program::from_content(super::super::samples::named("hello").unwrap(), Vec::new()).unwrap();
        let job = Some("j".parse().unwrap());
        let submission = Submission::new(program, job, Vec::new(), Indices::SINGLE, vec![0; 4 << 20], false).unwrap();
        let line = ["submit", "x", "--node", "127.0.0.1:1", "--timeout", "50ms"];
        let error = submit(&Line::parse_from(line).args, &submission, &connected).await.unwrap_err();
        let text = failure::text(&error).unwrap();
        assert!(text.contains("the time to wait is over") && text.contains("--id j"), "{text}");
    }
}

//! A worker served by a thread of the test, or by a process of its own, and the node's end of its socket.

use super::{Asm, image};
use denali_protocol::{
    bundle::{CpuModel, PackRequest, pack},
    digest::Digest,
    job::{Channel, Limits, Outcome, Usage},
    wire::frame,
};
use denali_vmm::worker::{
    self,
    message::{Command, Input, Report, RunId, Start},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::MemfdFlags,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use std::{
    fs::File,
    io::{self, IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, ExitCode, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    pub(crate) output: Vec<u8>,
    /// From the start command to the end's report.
    pub(crate) took: Duration,
}

impl Ended {
    /// The `n`-th word of a result.
    pub(crate) fn word(&self, n: usize) -> u64 {
        let bytes = self.output.get(8 * n..8 * n + 8).unwrap_or_else(|| panic!("no result: {:?}", self.outcome));
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }
}

/// What to run. The defaults suit most guests.
pub(crate) struct Job<'a> {
    pub(crate) code: &'a Asm,
    pub(crate) cpu: CpuModel,
    pub(crate) limits: Limits,
    pub(crate) arguments: Vec<String>,
    pub(crate) input: OwnedFd,
}

impl<'a> Job<'a> {
    pub(crate) fn new(code: &'a Asm) -> Self {
        let limits =
            Limits { memory_bytes: 8 << 20, cpu_time_us: 5_000_000, wall_time_us: 5_000_000, output_bytes: 1 << 20 };
        let input = File::open("/dev/null").expect("there is a null device").into();
        Self { code, cpu: CpuModel::V2, limits, arguments: Vec::new(), input }
    }
}

/// Runs code in a worker of its own.
pub(crate) fn run(code: &Asm) -> Ended {
    let mut worker = Worker::start();
    worker.run(Job::new(code))
}

/// A worker, from the node's side.
pub(crate) struct Worker {
    socket: UnixStream,
    next_run: u64,
    serving: Serving,
}

enum Serving {
    Thread(thread::JoinHandle<ExitCode>),
    Process(Child),
}

impl Worker {
    /// Starts a worker, which needs KVM: without it, these tests fail.
    pub(crate) fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let serving = thread::spawn(move || worker::serve_here(theirs.into()));
        Self { socket: ours, next_run: 1, serving: Serving::Thread(serving) }.ready()
    }

    /// Takes over a worker in a process, whose standard input is the other end of `socket`.
    pub(crate) fn of(process: Child, socket: UnixStream) -> Self {
        Self { socket, next_run: 1, serving: Serving::Process(process) }.ready()
    }

    fn ready(mut self) -> Self {
        let worker = &mut self;
        match worker.report() {
            Report::Ready(Ok(lacks)) => assert!(lacks.is_empty(), "this host gives no whole jail: {lacks:?}"),
            Report::Ready(Err(reason)) => panic!("these tests need KVM, and the worker says: {reason}"),
            other => panic!("{other:?} before the worker was ready"),
        }
        self
    }

    /// The process that it is in, if it has one.
    pub(crate) fn process(&self) -> Option<u32> {
        match &self.serving {
            Serving::Thread(_) => None,
            Serving::Process(process) => Some(process.id()),
        }
    }

    /// Runs a job to its end, or to the worker's: how its process ended.
    pub(crate) fn run_or_die(mut self, job: Job<'_>) -> Result<Ended, ExitStatus> {
        self.begin(job);
        let (begun, mut output) = (Instant::now(), Vec::new());
        loop {
            match self.next_report() {
                Ok(Report::Ended { outcome, usage, .. }) => {
                    return Ok(Ended { outcome, usage, output, took: begun.elapsed() });
                }
                Ok(Report::Output { channel: Channel::Output, bytes, .. }) => output.extend(bytes),
                Ok(_) => {}
                Err(error) => match self.serving {
                    Serving::Process(mut process) => return Err(process.wait().expect("it is a child of ours")),
                    Serving::Thread(_) => panic!("{error}"),
                },
            }
        }
    }

    /// Runs a job to its end.
    pub(crate) fn run(&mut self, job: Job<'_>) -> Ended {
        let begun = Instant::now();
        let run = self.begin(job);
        let mut output = Vec::new();
        loop {
            match self.report() {
                Report::Ended { run: ended, outcome, usage } if ended == run => {
                    return Ended { outcome, usage, output, took: begun.elapsed() };
                }
                Report::Output { run: of, channel: Channel::Output, bytes } if of == run => output.extend(bytes),
                _ => {}
            }
        }
    }

    /// Starts a job.
    pub(crate) fn begin(&mut self, job: Job<'_>) -> RunId {
        let Job { code, cpu, limits, arguments, input } = job;
        self.begin_program(&image(&code.0), cpu, limits, arguments, Some(&input))
    }

    /// Starts a program; without a descriptor its input comes by messages.
    pub(crate) fn begin_program(
        &mut self,
        program: &[u8],
        cpu: CpuModel,
        limits: Limits,
        arguments: Vec<String>,
        input: Option<&OwnedFd>,
    ) -> RunId {
        let run = RunId(self.next_run);
        self.next_run += 1;
        let content = pack(&PackRequest {
            name: "guest",
            cpu,
            memory_bytes: limits.memory_bytes,
            cpu_time_us: limits.cpu_time_us,
            wall_time_us: limits.wall_time_us,
            program,
            files: &[],
        });
        let content = content.expect("it packs");
        let bundle = rustix::fs::memfd_create("bundle", MemfdFlags::CLOEXEC).expect("a memfd");
        let mut file = File::from(bundle);
        file.write_all(&content).expect("room for a bundle");
        let kind = if input.is_some() { Input::Descriptor } else { Input::Messages };
        let start = Start { run, bundle: Digest::of(&content), arguments, limits, input: kind, reimage: true };
        let descriptors: Vec<_> = std::iter::once(file.as_fd()).chain(input.map(AsFd::as_fd)).collect();
        self.send(&Command::Start(start), &descriptors);
        run
    }

    /// Closes its socket. Gives how long it took to end; `None` where it did not within ten seconds.
    pub(crate) fn close(self) -> Option<Duration> {
        let Self { socket, serving, .. } = self;
        let begun = Instant::now();
        drop(socket);
        let mut serving = serving;
        let mut is_over = || match &mut serving {
            Serving::Thread(thread) => thread.is_finished(),
            Serving::Process(process) => process.try_wait().is_ok_and(|status| status.is_some()),
        };
        while !is_over() {
            if begun.elapsed() > Duration::from_secs(10) {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Some(begun.elapsed())
    }

    /// Sends a command.
    pub(crate) fn send(&mut self, command: &Command, descriptors: &[std::os::fd::BorrowedFd<'_>]) {
        let frame = frame::encode(command).expect("a short command");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let sent = sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::empty());
        assert_eq!(sent.expect("the worker takes commands"), frame.len());
    }

    /// The next report, if one comes in time.
    pub(crate) fn report_within(&mut self, time: Duration) -> Option<Report> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let time = Timespec::try_from(time).expect("a short time");
        let ready = poll(&mut polled, Some(&time)).expect("it can be polled");
        (ready > 0).then(|| self.report())
    }

    /// The next report.
    pub(crate) fn report(&mut self) -> Report {
        self.next_report().expect("a report")
    }

    fn next_report(&mut self) -> io::Result<Report> {
        let mut header = [0; frame::HEADER_BYTES];
        self.socket.read_exact(&mut header)?;
        let mut body = vec![0; frame::body_length(header).expect("a frame")];
        self.socket.read_exact(&mut body)?;
        Ok(frame::decode(&body).expect("a report"))
    }
}

//! Writers and readers in a worker: which hardware it gives to whom, and that nothing leaks there either.

use super::{
    endings::{self, AMPLE, After, Ending, TIME_US},
    guest::content,
    sight::Sight,
};
use crate::worker::{
    self,
    message::{Command, Input, Report, RunId, Start},
};
use denali_protocol::{
    bundle::CpuModel,
    digest::Digest,
    job::{Channel, Limits, Outcome},
    receipt::StartPath,
    wire::frame,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    fs::File,
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
    time::Duration,
};

/// The node's end of a worker's socket.
pub(super) struct Worker {
    socket: UnixStream,
    bundle: Bundle,
    runs: u64,
}

/// What a node keeps of a bundle, and gives to each worker.
#[derive(Clone)]
pub(super) struct Bundle {
    digest: Digest,
    file: Arc<File>,
}

impl Bundle {
    /// The guest, as a program that makes checkpoints or none.
    pub(super) fn new(makes_checkpoints: bool) -> Self {
        let content = content(CpuModel::V2, makes_checkpoints);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&content).expect("room for a bundle");
        Self { digest: Digest::of(&content), file: Arc::new(file) }
    }
}

/// What a run gave.
pub(super) struct Ended {
    path: StartPath,
    outcome: Outcome,
    output: Vec<u8>,
}

impl Ended {
    pub(super) fn sight(self) -> Sight {
        assert_eq!(self.outcome, Outcome::Exited(0));
        Sight::new(self.output)
    }
}

impl Worker {
    /// A worker served by a thread of the test, in which two jobs of the bundle ran, so that it knows whether it makes
    /// checkpoints.
    fn start(makes_checkpoints: bool) -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a socket pair");
        thread::spawn(move || worker::serve_here(theirs.into()));
        let mut worker = Self::ready(socket, Bundle::new(makes_checkpoints));
        worker.run("R", AMPLE, false);
        worker.run("R", AMPLE, false);
        worker
    }

    /// The worker at the other end of `socket`, once it is ready.
    pub(super) fn ready(socket: UnixStream, bundle: Bundle) -> Self {
        let mut worker = Self { socket, bundle, runs: 0 };
        assert!(matches!(worker.report(), Report::Ready(Ok(_))));
        worker
    }

    /// Starts a job.
    pub(super) fn begin(&mut self, argument: &str, limits: Limits) -> RunId {
        self.runs += 1;
        let run = RunId(self.runs);
        let start = Start {
            run,
            bundle: self.bundle.digest,
            arguments: vec![argument.to_owned()],
            limits,
            input: Input::Messages,
            reimage: true,
        };
        let file = Arc::clone(&self.bundle.file);
        self.send(&Command::Start(start), &[file.as_fd()]);
        run
    }

    /// Runs a job to its end.
    pub(super) fn run(&mut self, argument: &str, limits: Limits, cancelled: bool) -> Ended {
        let run = self.begin(argument, limits);
        let (mut path, mut output) = (None, Vec::new());
        loop {
            match self.report() {
                Report::Started { path: started, .. } => {
                    path = Some(started);
                    if cancelled {
                        // Not before it wrote everything.
                        thread::sleep(Duration::from_micros(TIME_US));
                        self.send(&Command::Cancel(run), &[]);
                    }
                }
                Report::Output { channel: Channel::Output, bytes, .. } => output.extend(bytes),
                Report::Ended { outcome, .. } => {
                    // Its hardware is put back after this report.
                    thread::sleep(Duration::from_millis(20));
                    return Ended { path: path.expect("it was started"), outcome, output };
                }
                Report::Status(_) => {}
                report => panic!("{report:?}"),
            }
        }
    }

    fn send(&mut self, command: &Command, descriptors: &[BorrowedFd<'_>]) {
        let frame = frame::encode(command).expect("a short command");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let sent = sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::empty());
        assert_eq!(sent.expect("the worker takes commands"), frame.len());
    }

    pub(super) fn report(&mut self) -> Report {
        let mut header = [0; frame::HEADER_BYTES];
        self.socket.read_exact(&mut header).expect("a report");
        let mut body = vec![0; frame::body_length(header).expect("a frame")];
        self.socket.read_exact(&mut body).expect("a whole report");
        frame::decode(&body).expect("a report")
    }
}

/// Runs a writer in hardware that earlier jobs used, then a reader. `None` where the worker was not yet done with putting
/// hardware back when the next job came.
fn reader_after(ending: &Ending, makes_checkpoints: bool) -> Option<StartPath> {
    let mut worker = Worker::start(makes_checkpoints);
    let fresh = worker.run("R", AMPLE, false).sight();
    let writer = worker.run(&format!("W{}", ending.letter), ending.limits, ending.cancelled);
    assert!((ending.expected)(&writer.outcome), "{}: {:?}", ending.name, writer.outcome);
    let reader = worker.run("R", AMPLE, false);
    let path = reader.path;
    assert_eq!(reader.sight().leaks(&fresh), [""; 0], "{}", ending.name);
    (writer.path == StartPath::Reimaged).then_some(path)
}

fn hardware_is_used_again_where_it_may_be(makes_checkpoints: bool, ending: &Ending) {
    let expected = if ending.after == After::Reimaged { StartPath::Reimaged } else { StartPath::New };
    // On a busy host the next job may come too soon.
    let found: Vec<_> =
        (0..5).map(|_| reader_after(ending, makes_checkpoints)).take_while(|path| *path != Some(expected)).collect();
    assert!(found.len() < 5, "{}: {found:?}", ending.name);
    assert!(expected == StartPath::Reimaged || found.iter().all(Option::is_none), "{}: {found:?}", ending.name);
}

fn endings_with(after: impl Fn(After) -> bool) -> Vec<Ending> {
    endings::all().into_iter().filter(|ending| after(ending.after)).collect()
}

#[test]
fn hardware_of_warm_starts_is_used_again_where_it_may_be() {
    for ending in endings_with(|after| after == After::Reimaged) {
        hardware_is_used_again_where_it_may_be(true, &ending);
    }
}

#[test]
fn hardware_of_jobs_that_ended_badly_is_not_used_again() {
    for ending in endings_with(|after| after != After::Reimaged) {
        hardware_is_used_again_where_it_may_be(true, &ending);
    }
}

#[test]
fn hardware_of_cold_starts_is_used_again_where_it_may_be() {
    let names = ["TERMINATE", "cancelled while running", "#PF"];
    for ending in endings::all().into_iter().filter(|ending| names.contains(&ending.name)) {
        hardware_is_used_again_where_it_may_be(false, &ending);
    }
}

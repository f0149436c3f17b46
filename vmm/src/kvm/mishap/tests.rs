//! Jobs of a worker whose KVM fails at any call, or exit, once: each ends right, or is reported lost, which the node tries
//! again. Never is the bundle blamed, or another job than the one; and nothing is left.

use super::plan::{Mishap, arrange, cancel};
use crate::worker::{
    self,
    message::{Command, Input, Report, RunId, Start},
};
use denali_protocol::{
    bundle::{CpuModel, PackRequest, pack},
    digest::Digest,
    job::{Channel, Limits, Outcome},
    wire::frame,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    env,
    fs::{self, File},
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixStream},
    process::{Command as Process, ExitCode},
    thread,
    time::Duration,
};

/// Jobs that each worker gets: the first starts cold, the second makes the copy that the others start from.
const JOBS: u64 = 4;

/// So often in a row nothing is left to go wrong: hardware is made ahead when there is time, so numbers vary.
const ENOUGH: u32 = 3;

const SET: &str = "DENALI_TEST_OF_MISHAPS";

struct Bundle {
    file: File,
    digest: Digest,
    limits: Limits,
}

fn bundle() -> Bundle {
    let limits =
        Limits { memory_bytes: 8 << 20, cpu_time_us: 5_000_000, wall_time_us: 20_000_000, output_bytes: 1 << 20 };
    let content = pack(&PackRequest {
        name: "hello",
        cpu: CpuModel::V2,
        memory_bytes: limits.memory_bytes,
        cpu_time_us: limits.cpu_time_us,
        wall_time_us: limits.wall_time_us,
        program: denali_samples::find("hello").expect("there is such a sample").elf,
        files: &[],
    });
    let content = content.expect("it packs");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&content).expect("room for a bundle");
    Bundle { file, digest: Digest::of(&content), limits }
}

struct Worker {
    socket: UnixStream,
    thread: thread::JoinHandle<ExitCode>,
}

impl Worker {
    fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a socket pair");
        let thread = thread::spawn(move || worker::serve_here(theirs.into()));
        let mut worker = Self { socket, thread };
        assert!(matches!(worker.report(), Report::Ready(Ok(_))), "these tests need KVM");
        worker
    }

    /// Runs a job to its end.
    fn run(&mut self, bundle: &Bundle, number: u64, reimage: bool) -> (Outcome, Vec<u8>) {
        let start = Start {
            run: RunId(number),
            bundle: bundle.digest,
            arguments: vec![number.to_string()],
            limits: bundle.limits,
            input: Input::Bytes(Vec::new()),
            reimage,
        };
        let frame = frame::encode(&Command::Start(start)).expect("a short command");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let file = [bundle.file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&file)));
        let sent = sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::empty());
        assert_eq!(sent.expect("the worker takes commands"), frame.len());
        let mut output = Vec::new();
        loop {
            match self.report() {
                Report::Output { channel: Channel::Output, bytes, .. } => output.extend(bytes),
                Report::Ended { outcome, run, .. } => {
                    assert_eq!(run, RunId(number));
                    return (outcome, output);
                }
                _ => {}
            }
        }
    }

    fn report(&mut self) -> Report {
        let mut header = [0; frame::HEADER_BYTES];
        self.socket.read_exact(&mut header).expect("a report");
        let mut body = vec![0; frame::body_length(header).expect("a frame")];
        self.socket.read_exact(&mut body).expect("a whole report");
        frame::decode(&body).expect("a report")
    }

    fn end(self) {
        drop(self.socket);
        let code = self.thread.join().expect("it does not panic");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// Whether jobs end right where this is all that happens: nobody but a timer did it.
fn is_harmless(mishap: Mishap) -> bool {
    matches!(mishap, Mishap::Error(libc::EINTR | libc::EAGAIN))
}

/// A worker at whose KVM this goes wrong. Whether it did, and how many jobs were lost.
fn jobs_with(bundle: &Bundle, mishap: Mishap, left: u64) -> (bool, u64) {
    arrange(mishap, left);
    let (mut worker, mut lost) = (Worker::start(), 0);
    for number in 1..=JOBS {
        match worker.run(bundle, number, true) {
            (Outcome::Exited(0), output) => {
                assert_eq!(String::from_utf8_lossy(&output), format!("Hello, {number}!\n"), "{mishap:?} after {left}");
            }
            (Outcome::Lost(_), _) => lost += 1,
            other => panic!("{mishap:?} after {left}: {other:?}"),
        }
    }
    let happened = cancel();
    assert!(lost <= u64::from(happened), "{mishap:?} after {left}: {lost} jobs were lost");
    let (outcome, _) = worker.run(bundle, JOBS + 1, true);
    assert_eq!(outcome, Outcome::Exited(0), "{mishap:?} after {left}: the worker did not get over it");
    worker.end();
    (happened, lost)
}

/// The host has no room for the VM that is to reach a CHECKPOINT: the next one tries again.
fn the_copy_is_made_another_time(bundle: &Bundle) {
    let mut worker = Worker::start();
    for number in 1..=JOBS {
        if number == 2 {
            arrange(Mishap::Error(libc::ENOMEM), 0);
        }
        let (outcome, _) = worker.run(bundle, number, false);
        assert_eq!(matches!(outcome, Outcome::Lost(_)), number == 2, "{outcome:?}");
    }
    assert!(cancel());
    loop {
        match worker.report() {
            Report::Status(status) if status.counts.ended == JOBS - 1 => {
                assert_eq!(status.counts.copies, 1);
                return worker.end();
            }
            _ => {}
        }
    }
}

fn all() {
    let bundle = bundle();
    the_copy_is_made_another_time(&bundle);
    // What the first worker of a process makes for all.
    assert_eq!(jobs_with(&bundle, Mishap::Error(0), u64::MAX), (false, 0));
    // The thread that says the last words of a worker ends a moment after it.
    thread::sleep(Duration::from_millis(200));
    let before = descriptors();
    let errors = [libc::ENOMEM, libc::EINTR, libc::EAGAIN, libc::EFAULT, libc::EMFILE, libc::EIO];
    // Simultaneous exceptions, a delivery that failed, an exit that KVM does not know.
    let exits = [Mishap::Internal(2), Mishap::Internal(3), Mishap::Internal(4), Mishap::Entry];
    for mishap in errors.map(Mishap::Error).into_iter().chain(exits) {
        let (mut places, mut lost, mut in_vain) = (0, 0, 0);
        for left in 0.. {
            match jobs_with(&bundle, mishap, left) {
                (true, cost) => (places, lost, in_vain) = (places + 1, lost + cost, 0),
                (false, _) => in_vain += 1,
            }
            if in_vain == ENOUGH {
                break;
            }
        }
        println!("{mishap:?}: {places} places, {lost} jobs lost");
        assert!(places >= JOBS, "{mishap:?} was not seen");
        assert!(lost > 0 || is_harmless(mishap), "{mishap:?} cost nothing: it is not noticed");
    }
    let gone = (0..100).find(|_| {
        thread::sleep(Duration::from_millis(20));
        descriptors() <= before
    });
    assert!(gone.is_some(), "{} descriptors, before there were {before}", descriptors());
}

/// In a process of its own, since what goes wrong goes wrong for all of a process.
#[test]
fn jobs_are_right_or_lost_wherever_kvm_fails() {
    if env::var_os(SET).is_some() {
        return all();
    }
    let path = concat!(module_path!(), "::jobs_are_right_or_lost_wherever_kvm_fails");
    let (_, name) = path.split_once("::").expect("a crate's name");
    let itself = env::current_exe().expect("this test's program");
    let done = Process::new(itself).args([name, "--exact", "--nocapture"]).env(SET, "1").output().expect("it starts");
    let (said, why) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("{said}");
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

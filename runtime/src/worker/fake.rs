//! A worker in the test process: a thread at the other end of the socket, which does what a job's first argument says.
//! Honest jobs: `echo` (input to output), `exit N`, `print BYTES`, `files`, `hang`, `sleep MS`. The others break a rule
//! each. `told` puts out what the node said last of CPUs, memory and swap; `rest` hangs as a VM that idles would, and
//! `boast` tells absurd numbers.

use super::{Reports, SpawnError, Worker};
use denali_protocol::{
    job::{Channel, Exits, Outcome, Usage, VmId},
    receipt::StartPath,
    wire::frame,
};
use denali_vmm::worker::message::{Command, Counts, Histogram, Input, Lack, Measure, Report, RunId, Start, Status};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::{
    fs::File,
    io::{IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

type Launched = Result<(Worker, Reports), SpawnError>;

/// A worker of the test process, ready.
pub(crate) fn launch() -> Pin<Box<dyn Future<Output = Launched> + Send>> {
    Box::pin(async {
        let (ours, theirs) = UnixStream::pair()?;
        std::thread::spawn(move || serve(theirs));
        Worker::adopt(ours, None).await
    })
}

/// The same, without the control group that it should have.
pub(crate) fn launch_unbounded() -> Pin<Box<dyn Future<Output = Launched> + Send>> {
    Box::pin(async {
        let (worker, reports) = launch().await?;
        let lack = Lack { measure: Measure::Limits, why: "in its group it died".to_owned() };
        worker.0.unbounded.set(lack).expect("it is new");
        Ok((worker, reports))
    })
}

/// Serves a socket as an honest worker would, apart from jobs that ask for worse.
fn serve(socket: UnixStream) {
    let mut worker = Fake {
        socket,
        received: Vec::new(),
        descriptors: Vec::new(),
        hanging: Vec::new(),
        status: Status::default(),
        told: (None, None, None),
    };
    worker.say(&Report::Ready(Ok(Vec::new())));
    while let Some(command) = worker.command() {
        match command {
            Command::Start(start) => {
                let input = match &start.input {
                    Input::Bytes(bytes) => {
                        let mut file = tempfile::tempfile().unwrap();
                        file.write_all(bytes).unwrap();
                        file.rewind().unwrap();
                        file
                    }
                    Input::Descriptor | Input::Messages => File::from(worker.descriptors.split_off(1).remove(0)),
                };
                worker.descriptors.clear();
                if worker.run(&start, input).is_none() {
                    return;
                }
            }
            Command::Input { .. } => {}
            Command::Cpus(cpus) => worker.told.0 = Some(cpus),
            Command::Memory(bytes) => worker.told.1 = Some(bytes),
            Command::Swap(bytes) => {
                assert_eq!(worker.descriptors.len(), 1);
                worker.descriptors.clear();
                worker.told.2 = Some(bytes);
            }
            Command::Cancel(run) => {
                if worker.hanging.contains(&run) {
                    worker.hanging.retain(|hanging| *hanging != run);
                    worker.end(run, Outcome::Cancelled);
                }
            }
        }
    }
}

struct Fake {
    socket: UnixStream,
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    hanging: Vec<RunId>,
    status: Status,
    /// What the node said last of CPUs, memory and swap.
    told: (Option<u32>, Option<u64>, Option<u64>),
}

impl Fake {
    fn say(&mut self, report: &Report) {
        let _ = self.socket.write_all(&frame::encode(report).unwrap());
    }

    fn print(&mut self, run: RunId, channel: Channel, bytes: &[u8]) {
        self.say(&Report::Output { run, channel, bytes: bytes.to_vec() });
    }

    fn end(&mut self, run: RunId, outcome: Outcome) {
        self.say(&Report::Ended { run, outcome, usage: Usage { cpu_us: 7, ..Usage::default() } });
    }

    fn command(&mut self) -> Option<Command> {
        loop {
            if let Some((header, rest)) = self.received.split_first_chunk() {
                let length = frame::body_length(*header).unwrap();
                if let Some(body) = rest.get(..length) {
                    let command = frame::decode(body).unwrap();
                    self.received.drain(..frame::HEADER_BYTES + length);
                    return Some(command);
                }
            }
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            // One frame at a time, so that descriptors stay with theirs.
            let want = match self.received.split_first_chunk() {
                Some((header, rest)) => frame::body_length(*header).unwrap() - rest.len(),
                None => frame::HEADER_BYTES - self.received.len(),
            };
            let want = want.min(bytes.len());
            let slices = &mut [IoSliceMut::new(&mut bytes[..want])];
            let got = rustix::net::recvmsg(&self.socket, slices, &mut control, RecvFlags::empty()).ok()?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            if got.bytes == 0 {
                return None;
            }
            self.received.extend_from_slice(&bytes[..got.bytes]);
        }
    }

    /// Nothing when the worker is to die.
    fn run(&mut self, start: &Start, mut input: File) -> Option<()> {
        static VM: AtomicU64 = AtomicU64::new(1);
        let run = start.run;
        let started = Report::Started { run, vm: VmId(VM.fetch_add(1, Ordering::Relaxed)), path: StartPath::New };
        let word = start.arguments.first().map_or("", String::as_str);
        let number = start.arguments.get(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let early = match word {
            "unstartable" => Some(Outcome::Unstartable("no such image".to_owned())),
            "exit-unstarted" => Some(Outcome::Exited(0)),
            _ => None,
        };
        if let Some(outcome) = early {
            self.end(run, outcome);
            return Some(());
        }
        self.say(&started);
        let mut status = 0;
        match word {
            "echo" => {
                let mut bytes = Vec::new();
                input.read_to_end(&mut bytes).unwrap();
                bytes.chunks(60_000).for_each(|piece| self.print(run, Channel::Output, piece));
                self.print(run, Channel::Error, start.arguments.join(" ").as_bytes());
            }
            "exit" => status = number as u8,
            "print" => {
                let piece = vec![b'x'; 50_000];
                let mut left = number as usize;
                while left > 0 {
                    self.print(run, Channel::Output, &piece[..left.min(piece.len())]);
                    left -= left.min(piece.len());
                }
            }
            "files" => {
                self.print(run, Channel::File("b/c".to_owned()), b"two");
                self.print(run, Channel::File("a".to_owned()), b"one");
                self.print(run, Channel::File("empty".to_owned()), b"");
                self.print(run, Channel::Output, b"out");
            }
            "sleep" => std::thread::sleep(Duration::from_millis(number)),
            "hang" => {
                self.print(run, Channel::Output, b"hanging");
                self.hanging.push(run);
                return Some(());
            }
            "told" => self.print(run, Channel::Output, format!("{:?}", self.told).as_bytes()),
            "rest" => {
                self.print(run, Channel::Output, b"resting");
                self.hanging.push(run);
                self.status.idle += 1;
                self.status.counts.new += 1;
                self.say(&Report::Status(Box::new(self.status.clone())));
                return Some(());
            }
            "boast" => {
                self.say(&Report::Status(Box::new(absurd())));
                self.hanging.push(run);
                return Some(());
            }
            "flood" => {
                let frames: Vec<u8> = frame::encode(&Report::Status(Box::default())).unwrap().repeat(100);
                while self.socket.write_all(&frames).is_ok() {}
                return None;
            }
            "die" => return None,
            // The host fails it, the first `number` times.
            "lose" => {
                static LOST: AtomicU64 = AtomicU64::new(0);
                if LOST.fetch_add(1, Ordering::Relaxed) < number {
                    self.end(run, Outcome::Lost("of no fault of its own".to_owned()));
                    return Some(());
                }
                LOST.store(0, Ordering::Relaxed);
            }
            "die-once" => {
                static DEAD: AtomicU64 = AtomicU64::new(0);
                self.print(run, Channel::Output, b"first try");
                if DEAD.fetch_add(1, Ordering::Relaxed) == 0 {
                    // Time to be seen.
                    std::thread::sleep(Duration::from_millis(100));
                    return None;
                }
            }
            "file-and-directory" => {
                self.print(run, Channel::File("a/b".to_owned()), b"");
                self.print(run, Channel::File("a".to_owned()), b"");
            }
            "other-limit" => {
                self.end(run, Outcome::OutputLimit { limit_bytes: start.limits.output_bytes - 1 });
                return Some(());
            }
            // Until nobody listens.
            "chatter" => {
                let frames: Vec<u8> = (0..4000)
                    .flat_map(|n| frame::encode(&Report::Progress { run, permille: n % 2 }).unwrap())
                    .collect();
                while self.socket.write_all(&frames).is_ok() {}
                return None;
            }
            "start-twice" => self.say(&started),
            "unknown-run" => self.end(RunId(u64::MAX), Outcome::Exited(0)),
            "empty-piece" => self.print(run, Channel::Output, b""),
            "bad-name" => self.print(run, Channel::File("../x".to_owned()), b"x"),
            "progress" => self.say(&Report::Progress { run, permille: 1001 }),
            "garbage" => drop(self.socket.write_all(&[9, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0])),
            "long-frame" => drop(self.socket.write_all(&[255, 255, 255, 255])),
            "talk-after-end" => {
                self.end(run, Outcome::Exited(0));
                self.print(run, Channel::Output, b"and another thing");
                return Some(());
            }
            "ready-again" => self.say(&Report::Ready(Ok(Vec::new()))),
            _ => status = 99,
        }
        self.end(run, Outcome::Exited(status));
        Some(())
    }
}

/// Numbers that no worker can have.
fn absurd() -> Status {
    let most = u64::MAX;
    let histogram = Histogram([most; 32]);
    let counts = Counts {
        turns: most,
        new: most,
        ready: most,
        reimaged: most,
        copies: most,
        ended: most,
        swapped_out: most,
        swapped_in: most,
        swap_failures: most,
        exits: Exits { idle: most, kicks: most, ..Exits::default() },
        start: histogram.clone(),
        wake: histogram.clone(),
        swap_in: histogram.clone(),
        swap_out: histogram,
    };
    let many = u32::MAX;
    Status { runnable: many, running: many, idle: many, swapped: many, memory_kib: most, swap_bytes: most, counts }
}

//! The runs of a worker: each a job in a VM of its own, on a thread of its own.

use super::{
    AbortOnPanic,
    attendant::Attendant,
    images::Images,
    message::{Report, RunId, Start},
    reporter::Reporter,
};
use crate::{
    gateway::Sink,
    kvm::Host,
    vm::{Assignment, BuildError, Door, Vm},
};
use denali_protocol::job::{Channel, Outcome, Usage, VmId};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// All runs of this worker.
#[derive(Clone)]
pub(super) struct Runs(Arc<Shared>);

struct Shared {
    host: Host,
    images: Images,
    attendant: Attendant,
    reporter: Reporter,
    next_vm: AtomicU64,
    alive: Mutex<HashMap<RunId, Stage>>,
}

/// How far a run is.
enum Stage {
    /// Its VM is being built.
    Building,
    /// Cancelled before it had a VM.
    Cancelled,
    /// It has a VM.
    Running(Arc<Door>),
}

/// Sends a job's output to the node.
struct ReportSink {
    run: RunId,
    reporter: Reporter,
}

impl Sink for ReportSink {
    fn output(&mut self, channel: Channel, bytes: &[u8]) {
        // Without a node no one is left to tell, and the worker ends.
        let _ = self.reporter.send(&Report::Output { run: self.run, channel, bytes: bytes.to_vec() });
    }

    fn progress(&mut self, permille: u16) {
        let _ = self.reporter.send(&Report::Progress { run: self.run, permille });
    }

    fn keeps_up(&self) -> bool {
        self.reporter.keeps_up()
    }
}

impl Runs {
    pub(super) fn new(host: Host, reporter: Reporter) -> io::Result<Self> {
        // VM names start at a random place, so that no two workers of a node ever give the same one.
        let mut place = [0; 8];
        SystemRandom::new().fill(&mut place).map_err(|_| io::Error::other("the host has no random numbers"))?;
        Ok(Self(Arc::new(Shared {
            host,
            images: Images::default(),
            attendant: Attendant::start()?,
            reporter,
            next_vm: AtomicU64::new(u64::from_le_bytes(place)),
            alive: Mutex::new(HashMap::new()),
        })))
    }

    /// Starts a run. Its reports follow.
    pub(super) fn start(&self, start: Start, bundle: File, input: File) {
        let run = start.run;
        self.0.alive().insert(run, Stage::Building);
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name(format!("run {}", run.0));
        let run_to_end = move || {
            let _guard = AbortOnPanic;
            shared.run(&start, bundle, input);
        };
        if let Err(error) = thread.spawn(run_to_end) {
            self.0.ended(run, Outcome::Lost(format!("the host has no thread for a VM: {error}")), Usage::default());
        }
    }

    /// Cancels a run, if it has not ended.
    pub(super) fn cancel(&self, run: RunId) {
        let mut alive = self.0.alive();
        match alive.get_mut(&run) {
            Some(Stage::Running(door)) => {
                let door = Arc::clone(door);
                drop(alive);
                door.stop(Outcome::Cancelled);
                // The attendant repeats the knock until it is heard.
                self.0.attendant.call(&door);
            }
            Some(stage) => *stage = Stage::Cancelled,
            None => {}
        }
    }
}

impl Shared {
    fn alive(&self) -> MutexGuard<'_, HashMap<RunId, Stage>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, start: &Start, bundle: File, input: File) {
        let mut vm = match self.build(start, bundle, input) {
            Ok(vm) => vm,
            Err(outcome) => return self.ended(start.run, outcome, Usage::default()),
        };
        let started = {
            let mut alive = self.alive();
            match alive.get_mut(&start.run) {
                Some(stage @ Stage::Building) => {
                    *stage = Stage::Running(Arc::clone(vm.door()));
                    true
                }
                _ => false,
            }
        };
        if !started {
            return self.ended(start.run, Outcome::Cancelled, Usage::default());
        }
        let _ = self.reporter.send(&Report::Started { run: start.run, vm: vm.id() });
        self.attendant.call(vm.door());
        let (outcome, usage) = vm.run();
        // Reported before the VM is destroyed: that takes longer than a small job, and nothing depends on it.
        self.ended(start.run, outcome, usage);
        // It lets go of the door, and so of the VM's memory.
        self.attendant.call(vm.door());
    }

    fn build(&self, start: &Start, bundle: File, input: File) -> Result<Vm, Outcome> {
        let image = self.images.get(start.bundle, start.limits.memory_bytes, bundle).map_err(|error| {
            if error.blames_bundle() {
                Outcome::Unstartable(error.to_string())
            } else {
                Outcome::Lost(error.to_string())
            }
        })?;
        let assignment = Assignment {
            vm: VmId(self.next_vm.fetch_add(1, Ordering::Relaxed)),
            arguments: &start.arguments,
            limits: start.limits,
            input,
            sink: Box::new(ReportSink { run: start.run, reporter: self.reporter.clone() }),
        };
        Vm::build(&self.host, &image, assignment).map_err(|error| match error {
            BuildError::Arguments { .. } | BuildError::Host(_) => Outcome::Unstartable(error.to_string()),
            other => Outcome::Lost(other.to_string()),
        })
    }

    fn ended(&self, run: RunId, outcome: Outcome, usage: Usage) {
        self.alive().remove(&run);
        let _ = self.reporter.send(&Report::Ended { run, outcome, usage });
    }
}

//! A run of a guest program: its VM gets slice after slice until it ends, and meanwhile happens what its case says.

use super::{
    case::{Case, Happening},
    verdict::{Finding, Oracle},
};
use crate::{
    gateway::Verdict as Sentence,
    kvm::{self, Alarm, Recorder},
    vm::{Stop, Vm},
};
use denali_protocol::job::Outcome;
use std::time::{Duration, Instant};

/// A VM is given the CPU for so long at a time.
const SLICE: Duration = Duration::from_micros(400);

/// Time of the VM's clock up to which IDLE is waited for, in nanoseconds; a program that idles longer meets its next event,
/// or is cancelled.
const PATIENCE_NS: u64 = 200_000;
const PATIENCE: Duration = Duration::from_nanos(PATIENCE_NS);

/// A program that runs longer was not stopped by its limits.
const HANGS: Duration = Duration::from_secs(20);

/// A run under way.
pub(super) struct Course<'a> {
    case: &'a Case,
    /// Events that came.
    next: usize,
    pub(super) cancelled: bool,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Course<'a> {
    pub(super) fn new(case: &'a Case) -> Self {
        Self { case, next: 0, cancelled: false, findings: Vec::new() }
    }

    /// Runs the VM to its end.
    pub(super) fn run(&mut self, vm: &mut Vm, alarm: &Alarm, frame: &mut Vec<u8>) -> Outcome {
        let begun = Instant::now();
        loop {
            kvm::forget_interruption();
            match vm.run(alarm, SLICE, frame) {
                Stop::Ended(outcome) => return outcome,
                Stop::Slice => self.events(vm),
                Stop::Idle(until) => self.idles(vm, until),
                stop => {
                    self.findings.push(Finding::new(Oracle::Truth, format!("a VM with a job stopped for {stop:?}")));
                    vm.doom(Sentence::Outcome(Outcome::Cancelled));
                    self.cancelled = true;
                }
            }
            if begun.elapsed() > HANGS {
                let detail = format!("it still runs after {HANGS:?}, with {:?} used", vm.usage());
                self.findings.push(Finding::new(Oracle::Limits, detail));
                return Outcome::Cancelled;
            }
        }
    }

    /// The events that are due.
    fn events(&mut self, vm: &mut Vm) {
        let entries = vm.hardware().machine().recorder().map_or(0, Recorder::entries);
        while self.case.events.get(self.next).is_some_and(|event| u64::from(event.entry) < entries) {
            self.event(vm);
        }
    }

    fn event(&mut self, vm: &mut Vm) {
        match &self.case.events[self.next].what {
            Happening::Interruption => {}
            Happening::Input { bytes, end } => vm.feed(bytes.clone(), *end),
            Happening::Cancel => self.cancel(vm),
        }
        self.next += 1;
    }

    fn cancel(&mut self, vm: &mut Vm) {
        self.cancelled = true;
        vm.doom(Sentence::Outcome(Outcome::Cancelled));
    }

    /// What the program asks for decides, rather than what is left of it now: so it does again in another run.
    fn idles(&mut self, vm: &mut Vm, until: Option<Instant>) {
        let asked = vm.hardware().machine().registers().rdi;
        match until {
            Some(until) if asked <= PATIENCE_NS => {
                std::thread::sleep(until.saturating_duration_since(Instant::now()).min(PATIENCE));
            }
            _ if self.next < self.case.events.len() => self.event(vm),
            _ => self.cancel(vm),
        }
    }
}

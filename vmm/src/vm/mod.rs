//! One Denali VM: a job in virtual hardware, from its first instruction to its end.
//!
//! A VM has no thread: whoever holds it may run it for a slice, on any thread, and is told why it stopped.

mod change;
mod compare;
mod fault;
mod hardware;
mod interrupt;
#[cfg(test)]
mod leaks;
mod run;
mod sleep;
mod start;
mod template;
mod turn;
mod upcall;

pub(crate) use compare::differing_pages;
pub(crate) use hardware::{Hardware, HardwareError};
pub(crate) use run::Stop;
pub(crate) use sleep::{Asleep, Loaded, WakeError};
pub(crate) use start::{Assignment, Given, usual_rings_suffice};
pub(crate) use template::Template;
#[cfg(feature = "testing")]
pub use {change::fuzz::protect, upcall::fuzz::upcalls};

use crate::gateway::{Gateway, Progress, Verdict};
use change::Change;
use denali_protocol::{
    job::{Exits, Limits, Usage, VmId},
    receipt::StartPath,
};
use interrupt::Told;
use std::time::{Duration, Instant};

/// A VM, with the hardware that it runs in; or, on disk, with something in its stead.
pub(crate) struct Vm<H = Hardware> {
    id: VmId,
    hardware: H,
    gateway: Gateway,
    /// The arguments, as long as the VM has not been given its job.
    withheld: Option<Vec<String>>,
    limits: Limits,
    exits: Exits,
    phase: Phase,
    changing: Option<Change>,
    /// How far the rings were when the VM last woke. What moved since then ends an IDLE, even if it moved before the
    /// IDLE: the guest may have looked at its rings before that.
    seen: Progress,
    told: Told,
    /// Zero of the VM's clock.
    clock_zero: Instant,
    path: StartPath,
    /// When making it ready began.
    begun: Instant,
    /// How long that took.
    start: Duration,
    /// When its first instruction was executed.
    entered: Option<Instant>,
    /// CPU time used so far.
    cpu: Duration,
    memory_peak_kib: u64,
}

/// Where a VM is in its life, as far as it knows itself.
#[derive(Clone, Debug)]
enum Phase {
    /// Not entered yet.
    Built,
    /// Entered, and stopped where it was. It was told these pending bits.
    Running(u64),
    /// It gave up the CPU until something happens, or until this time.
    Idle(Option<Instant>),
    /// It has to end.
    Doomed(Verdict),
}

impl Vm {
    /// The hardware that it runs in, for attacks.
    pub(crate) fn hardware(&mut self) -> &mut Hardware {
        &mut self.hardware
    }

    /// Where its rings lie.
    pub(crate) fn rings(&self) -> crate::nic::cable::Rings {
        self.gateway.rings()
    }
}

impl<H> Vm<H> {
    /// Its name.
    pub(crate) fn id(&self) -> VmId {
        self.id
    }

    /// What it used so far.
    pub(crate) fn usage(&self) -> Usage {
        let wall = self.entered.map_or(Duration::ZERO, |entered| entered.elapsed());
        Usage {
            cpu_us: self.cpu.as_micros() as u64,
            wall_us: wall.as_micros() as u64,
            start_us: self.start.as_micros() as u64,
            memory_peak_kib: self.memory_peak_kib,
            exits: self.exits,
        }
    }

    /// Whether it has not been given its job: it is on its way to a CHECKPOINT.
    pub(crate) fn has_no_job(&self) -> bool {
        self.withheld.is_some()
    }

    /// How it was started.
    pub(crate) fn path(&self) -> StartPath {
        self.path
    }

    /// Bytes of input that it has not got.
    pub(crate) fn input_left(&self) -> usize {
        self.gateway.input_left()
    }

    /// More input for it.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>, end: bool) {
        self.gateway.feed(bytes, end);
    }

    /// When its wall time is over; none before its first entry.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.entered?.checked_add(Duration::from_micros(self.limits.wall_time_us))
    }

    /// Makes it end when it is run next. The first reason stands.
    pub(crate) fn doom(&mut self, verdict: Verdict) {
        if !matches!(self.phase, Phase::Doomed(_)) {
            self.phase = Phase::Doomed(verdict);
        }
    }
}

//! Interrupts and faults of a running VM: telling the guest, at an entry, what happened.

use super::{Vm, fault, turn::Turn, upcall};
use crate::{gateway::Progress, kvm::Registers};
use denali_abi::registers::{
    Control, FaultRecord, Interrupted, STOPPING_NOTICE_MS, TICK_US_MIN,
    pending::{RECEIVE, STOPPING, TRANSMIT},
};
use denali_protocol::job::{Fault, FaultCause, Outcome};
use std::time::{Duration, Instant};

const STOPPING_NOTICE: Duration = Duration::from_millis(STOPPING_NOTICE_MS);

/// The timer makes a running VM leave no more often than this, whatever the guest asks for.
const TICK_MIN: Duration = Duration::from_micros(TICK_US_MIN);

/// What became causes of upcalls so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How far the rings were.
    progress: Progress,
    /// That the VM is about to be stopped.
    stopping: bool,
    /// When the timer last made the VM leave.
    tick: Option<Instant>,
}

impl Vm {
    /// Before an entry: adds what happened to the causes in the control page, sets the alarm for the VM's timer, and makes
    /// the VM continue at its upcall entry where there is a cause and it wants one. An error is how the VM ends.
    pub(super) fn interrupt(&mut self, turn: &mut Turn<'_>) -> Result<(), Outcome> {
        let before = self.hardware.machine.memory().control();
        if before.upcall_entry == 0 {
            turn.ring(None);
            return Ok(());
        }
        let mut control = before;
        (control.causes, control.timer_ns) = upcall::latch(&before, self.news(), self.clock_ns());
        self.told.progress = self.gateway.progress();
        self.told.stopping |= self.is_stopping();
        let machine = &mut self.hardware.machine;
        // A stub that was interrupted has to end first; the next entry is soon enough.
        let now = control.causes != 0 && upcall::welcome(&control, machine.registers().rflags);
        if now && machine.is_in_program() {
            machine.complete_exit();
            let registers = machine.registers();
            let entered = upcall::interrupt(&control, registers, self.limits.memory_bytes);
            let (interrupted, entered) = entered.map_err(|error| {
                let cause = FaultCause::Upcall { detail: error.to_string() };
                Outcome::Fault(Fault { cause, instruction_pointer: registers.rip })
            })?;
            control.interrupted = interrupted;
            machine.set_registers(entered);
        }
        if control != before {
            machine.memory().set_control(control);
        }
        let due = upcall::armed(&control).and_then(|ns| self.at_clock(ns));
        let earliest = self.told.tick.map(|tick| tick + TICK_MIN);
        turn.ring(due.map(|due| earliest.map_or(due, |earliest| due.max(earliest))));
        Ok(())
    }

    /// The VM was made to leave for its timer.
    pub(super) fn ticked(&mut self) {
        self.told.tick = Some(Instant::now());
    }

    /// Whether an idle VM has a cause of an upcall; otherwise when it will, as far as time decides. Upcalls need not be
    /// enabled: so a guest can disable them, see that there is nothing to do, and idle, and miss nothing.
    pub(super) fn has_cause(&self) -> Result<(), Option<Instant>> {
        let control = self.hardware.machine.memory().control();
        if control.upcall_entry == 0 {
            return Err(None);
        }
        if upcall::latch(&control, self.news(), self.clock_ns()).0 != 0 {
            return Ok(());
        }
        let stopping = self.deadline().filter(|_| !self.told.stopping).and_then(|at| at.checked_sub(STOPPING_NOTICE));
        Err([upcall::armed(&control).and_then(|ns| self.at_clock(ns)), stopping].into_iter().flatten().min())
    }

    /// Whether a limit of time is near.
    pub(super) fn is_stopping(&self) -> bool {
        let near = |limit_us, used| Duration::from_micros(limit_us).saturating_sub(used) <= STOPPING_NOTICE;
        let wall = self.entered.map_or(Duration::ZERO, |entered| entered.elapsed());
        near(self.limits.cpu_time_us, self.cpu) || near(self.limits.wall_time_us, wall)
    }

    /// Continues at the guest's fault entry, after an exception that its stub reported; `None` where it ends the VM.
    pub(super) fn deliver_fault(&mut self, record: FaultRecord) -> Option<Result<(), Outcome>> {
        let control = self.hardware.machine.memory().control();
        let has_cause = upcall::latch(&control, self.news(), self.clock_ns()).0 != 0;
        let machine = &mut self.hardware.machine;
        let registers = machine.registers();
        match upcall::fault(&control, record, registers, self.limits.memory_bytes)? {
            Ok(_) if has_cause && upcall::comes_first(&control, &record) => {
                let Interrupted { rip, rflags, rsp } = record.at;
                machine.leave_stub();
                machine.set_registers(Registers { rip, rflags, rsp, ..registers });
                Some(Ok(()))
            }
            Ok((fault, entered)) => {
                machine.leave_stub();
                machine.set_registers(entered);
                machine.memory().set_control(Control { in_fault: 1, fault, ..control });
                Some(Ok(()))
            }
            Err(error) => {
                let detail = format!("{error}, and this came: {}", fault::cause(&record));
                let cause = FaultCause::Upcall { detail };
                // Where it would be without a fault entry.
                Some(Err(Outcome::Fault(Fault { cause, ..fault::report(&record) })))
            }
        }
    }

    /// What happened, besides the timer, that is no cause of an upcall yet.
    fn news(&self) -> u64 {
        let (now, then) = (self.gateway.progress(), self.told.progress);
        let bit = |news, bit| if news { bit } else { 0 };
        bit(now.received != then.received, RECEIVE)
            | bit(now.taken != then.taken, TRANSMIT)
            | bit(!self.told.stopping && self.is_stopping(), STOPPING)
    }

    /// The VM's clock.
    fn clock_ns(&self) -> u64 {
        u64::try_from(self.clock_zero.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A time of the VM's clock; none for one too far away to name.
    pub(super) fn at_clock(&self, ns: u64) -> Option<Instant> {
        self.clock_zero.checked_add(Duration::from_nanos(ns))
    }
}

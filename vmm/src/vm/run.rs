//! Running a VM for a slice: the loop around KVM_RUN, and what each exit means.

use super::{
    Hardware, HardwareError, Phase, Template, Told, Vm,
    change::{Change, ChangeError},
    fault,
    turn::Turn,
};
use crate::{
    gateway::{Bench, Verdict},
    kvm::{Alarm, Exit, Host, Pagemap, Registers, cpu_time},
    machine::stubs::{Stub, stub_at},
    nic::cable::is_untouched,
};
use denali_abi::{
    instruction::{CHECKPOINT, IDLE, IDLE_FOREVER, KICK, PROTECT, STATUS_OUT_OF_MEMORY, TERMINATE},
    memory::REGISTERS,
    registers::{VirtualRegisters, pending},
};
use denali_protocol::job::{Access, Clock, Exits, Fault, FaultCause, Outcome, Usage};
use std::{
    mem::offset_of,
    time::{Duration, Instant},
};
use vm_memory::Bytes;

/// Why a VM stopped running.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Its slice is over, or someone interrupted it.
    Slice,
    /// It gave up the CPU until a packet comes, or until this time.
    Idle(Option<Instant>),
    /// It is at a CHECKPOINT, without its job: see [`Vm::capture`].
    Checkpoint,
    /// It ended, or waits, before it was given its job: it takes no copies.
    NoCheckpoint,
    /// It is over. Only [`Vm::finish`] is left to do.
    Ended(Outcome),
}

/// What to do after an exit.
enum Next {
    /// Enter again, and tell the guest these pending bits.
    Enter(u64),
    /// Leave it where it is.
    Stop(Stop),
}

/// How long a VM that may take copies runs without its job before it is given it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(1);

/// How often output is passed on of a VM that is held up because no one takes it.
const HELD_INTERVAL: Duration = Duration::from_millis(20);

impl Vm {
    /// Runs the VM for at most `slice`, or until a limit.
    pub(crate) fn run(&mut self, alarm: &Alarm, slice: Duration, frame: &mut Vec<u8>) -> Stop {
        let (begun, used) = (cpu_time(), self.cpu);
        let doomed = matches!(self.phase, Phase::Doomed(_));
        let entered = *self.entered.get_or_insert_with(|| {
            self.start = self.begun.elapsed();
            Instant::now()
        });
        let limit = |us: u64, used: Duration| Duration::from_micros(us).saturating_sub(used);
        let left = limit(self.limits.cpu_time_us, used).min(limit(self.limits.wall_time_us, entered.elapsed()));
        let stop = self.go_on(&mut Turn::new(alarm, slice.min(left)), frame, |vm| {
            vm.cpu = used + cpu_time().saturating_sub(begun);
        });
        self.cpu = used + cpu_time().saturating_sub(begun);
        match stop {
            // However it ended, it had no job.
            Stop::Ended(_) if self.withheld.is_some() && !doomed => Stop::NoCheckpoint,
            stop => stop,
        }
    }

    fn go_on(&mut self, turn: &mut Turn<'_>, frame: &mut Vec<u8>, meter: impl Fn(&mut Self)) -> Stop {
        if let Some(outcome) = self.limit_reached() {
            return Stop::Ended(outcome);
        }
        let mut happened = match std::mem::replace(&mut self.phase, Phase::Running(0)) {
            Phase::Built => pending::RECEIVE,
            Phase::Running(bits) => bits,
            Phase::Doomed(verdict) => return Stop::Ended(self.sentence(verdict)),
            Phase::Idle(until) => match self.look(until, frame) {
                Ok(bits) => bits,
                Err(stop) => return stop,
            },
        };
        loop {
            meter(self);
            if let Some(outcome) = self.limit_reached() {
                return Stop::Ended(outcome);
            }
            if self.changing.is_some() {
                match self.go_on_changing(turn) {
                    Next::Enter(bits) => happened = bits,
                    Next::Stop(stop) => return stop,
                }
                continue;
            }
            self.write_entry_registers(happened);
            if let Err(outcome) = self.interrupt(turn) {
                return Stop::Ended(outcome);
            }
            self.hardware.forget_private();
            let exit = self.hardware.machine.run();
            match self.handle(exit, happened, turn, frame) {
                Next::Enter(bits) => happened = bits,
                Next::Stop(stop) => return stop,
            }
        }
    }

    /// Ends it: takes what the guest still had in its ring, and says what it used.
    pub(crate) fn finish(&mut self, host: &Host, outcome: Outcome, frame: &mut Vec<u8>) -> (Outcome, Usage) {
        let mut bench = Bench { memory: self.hardware.machine.memory(), frame };
        // A guest that left a lie in its ring, or wrote too much, before it ended itself did not end well.
        let outcome = match (self.gateway.finish(&mut bench), outcome) {
            (Err(error), Outcome::Exited(_)) => self.sentence(error.into()),
            (_, outcome) => outcome,
        };
        self.measure_memory(&host.pagemap);
        (outcome, self.usage())
    }

    /// KiB of memory that are the VM's own at the moment, where the host tells.
    pub(crate) fn measure_memory(&mut self, pagemap: &Pagemap) -> Option<u64> {
        let now = self.hardware.private_kib(pagemap).ok()?;
        self.memory_peak_kib = self.memory_peak_kib.max(now);
        Some(now)
    }

    /// The hardware of a VM that has ended.
    pub(crate) fn into_hardware(self) -> Hardware {
        self.hardware
    }

    /// Takes a copy of a VM that stopped at a CHECKPOINT without its job: others can start from there. It goes on itself.
    pub(crate) fn capture(&mut self, host: &Host) -> Result<Template, HardwareError> {
        let machine = &mut self.hardware.machine;
        machine.complete_exit();
        let mut state = machine.state()?;
        state.registers.rax = 0;
        Ok(Template::warm(host, &self.hardware, state, self.clock_zero.elapsed())?)
    }

    /// Starts over in other hardware, as its template, with the job, which this VM was not given.
    pub(crate) fn start_over(&mut self, hardware: Hardware) -> Hardware {
        // The page is where it always is, in both: neither access can fail.
        if let Ok(registers) = self.hardware.machine.memory().registers() {
            let _ = hardware.machine.memory().write_registers(VirtualRegisters { checkpoint_wanted: 0, ..registers });
        }
        let used = std::mem::replace(&mut self.hardware, hardware);
        self.exits = Exits::default();
        (self.entered, self.cpu) = (None, Duration::ZERO);
        self.changing = None;
        self.told = Told::default();
        self.phase = Phase::Built;
        used
    }

    fn limit_reached(&self) -> Option<Outcome> {
        let wall = self.entered.map_or(Duration::ZERO, |entered| entered.elapsed());
        let reached = |used: Duration, limit_us| used >= Duration::from_micros(limit_us);
        let over = |clock, limit_us| Some(Outcome::TimeLimit { clock, limit_us });
        match self.limits {
            limits if reached(wall, limits.wall_time_us) => over(Clock::Wall, limits.wall_time_us),
            limits if reached(self.cpu, limits.cpu_time_us) => over(Clock::Cpu, limits.cpu_time_us),
            _ => None,
        }
    }

    fn sentence(&self, verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::Outcome(outcome) => outcome,
            Verdict::Fault(cause) => {
                Outcome::Fault(Fault { cause, instruction_pointer: self.hardware.machine.registers().rip })
            }
        }
    }

    fn write_entry_registers(&self, happened: u64) {
        let ram = self.hardware.machine.memory().ram();
        let place = |offset| (REGISTERS as usize) + offset;
        // Constant addresses inside of every guest's memory: these can't fail.
        let _ = ram.write_obj(self.cpu.as_micros() as u64, place(offset_of!(VirtualRegisters, cpu_used_us)));
        let happened = happened | if self.is_stopping() { pending::STOPPING } else { 0 };
        let _ = ram.write_obj(happened, place(offset_of!(VirtualRegisters, pending)));
    }

    /// Serves the cable. An error is how the VM ends.
    fn serve(&mut self, frame: &mut Vec<u8>) -> Result<(), Outcome> {
        if self.withheld.is_some() {
            return Ok(());
        }
        let mut bench = Bench { memory: self.hardware.machine.memory(), frame };
        self.gateway.pump(&mut bench).map_err(|error| self.sentence(error.into()))
    }

    /// What happened on the cable since the VM last woke, as bits of [`pending`].
    fn happened(&self) -> u64 {
        let now = self.gateway.progress();
        let bit = |moved, bit| if moved { bit } else { 0 };
        bit(now.received != self.seen.received, pending::RECEIVE) | bit(now.taken != self.seen.taken, pending::TRANSMIT)
    }

    /// Looks whether there is a reason for an idle VM to go on, and wakes it if so.
    fn look(&mut self, until: Option<Instant>, frame: &mut Vec<u8>) -> Result<u64, Stop> {
        self.serve(frame).map_err(Stop::Ended)?;
        let mut happened = self.happened();
        if until.is_some_and(|until| until <= Instant::now()) {
            happened |= pending::TIMER;
        }
        if happened == 0
            && let Err(upcall) = self.has_cause()
        {
            self.phase = Phase::Idle(until);
            let held = self.gateway.held().then(|| Instant::now() + HELD_INTERVAL);
            return Err(Stop::Idle([until, held, upcall, self.deadline()].into_iter().flatten().min()));
        }
        self.seen = self.gateway.progress();
        Ok(happened)
    }

    fn handle(&mut self, exit: Exit, told: u64, turn: &mut Turn<'_>, frame: &mut Vec<u8>) -> Next {
        let registers = self.hardware.machine.registers();
        match exit {
            Exit::Out { .. } if stub_at(registers.rip).is_some() => self.stub(&registers, told),
            Exit::Out { port: IDLE, plain: true } => self.idle(registers, frame),
            Exit::Out { port: TERMINATE, plain: true } => self.terminate(&registers),
            Exit::Out { port: PROTECT, plain: true } => self.change(&registers),
            Exit::Out { port: CHECKPOINT, plain: true } => self.checkpoint(registers),
            Exit::Out { port: KICK, .. } => self.kick(frame),
            #[cfg(feature = "planted-exploit")]
            Exit::Out { port: crate::exploit::PORT, plain: true } => {
                let value = crate::exploit::call(self.hardware.machine.memory(), &registers);
                self.result(registers, value);
                Next::Enter(self.happened())
            }
            Exit::Out { port, .. } | Exit::In { port } => self.fault(&registers, FaultCause::UnknownPort { port }),
            Exit::Mmio { address } => self.fault(&registers, FaultCause::Page { address, access: Access::Read }),
            Exit::Interrupted => self.interrupted(told, turn, frame),
            Exit::Shutdown => self.fault(&registers, FaultCause::Shutdown),
            Exit::Host(fault) => ended(Outcome::Lost(format!("the host could not run the VM: {fault}"))),
        }
    }

    fn fault(&mut self, registers: &Registers, cause: FaultCause) -> Next {
        self.exits.fault += 1;
        self.hardware.supervisor_changed = true;
        ended(Outcome::Fault(Fault { cause, instruction_pointer: registers.rip }))
    }

    fn interrupted(&mut self, told: u64, turn: &mut Turn<'_>, frame: &mut Vec<u8>) -> Next {
        self.exits.interrupted += 1;
        let limit = Duration::from_micros(self.limits.cpu_time_us);
        if self.withheld.is_some() && self.cpu >= CHECKPOINT_PATIENCE.min(limit / 4) {
            return Next::Stop(Stop::NoCheckpoint);
        }
        if let Err(outcome) = self.serve(frame) {
            return ended(outcome);
        }
        let told = told | self.happened();
        if turn.is_over() {
            self.phase = Phase::Running(told);
            return Next::Stop(Stop::Slice);
        }
        self.ticked();
        Next::Enter(told)
    }

    fn kick(&mut self, frame: &mut Vec<u8>) -> Next {
        self.exits.kicks += 1;
        match self.serve(frame) {
            Ok(()) => Next::Enter(self.happened()),
            Err(outcome) => ended(outcome),
        }
    }

    fn result(&mut self, registers: Registers, value: u64) {
        self.hardware.machine.set_registers(Registers { rax: value, ..registers });
    }

    fn checkpoint(&mut self, registers: Registers) -> Next {
        self.exits.checkpoint += 1;
        let memory = self.hardware.machine.memory();
        let wanted = (REGISTERS as usize) + offset_of!(VirtualRegisters, checkpoint_wanted);
        // A constant address inside of every guest's memory.
        let _ = memory.ram().write_obj(0u32, wanted);
        self.phase = Phase::Running(pending::RECEIVE);
        if self.withheld.is_some() && is_untouched(memory) {
            self.result(registers, 0);
            return Next::Stop(Stop::Checkpoint);
        }
        self.result(registers, 0);
        Next::Enter(self.happened())
    }

    fn stub(&mut self, registers: &Registers, told: u64) -> Next {
        self.exits.fault += 1;
        self.hardware.supervisor_changed = true;
        let machine = &self.hardware.machine;
        let record = match stub_at(registers.rip) {
            Some(Stub::Exception(vector)) => fault::exception(machine, registers, vector),
            // Hardware changes the stack at exceptions only.
            Some(Stub::SystemCall) => Ok(fault::system_call(registers, registers.rsp)),
            _ => Err(Fault { cause: FaultCause::Shutdown, instruction_pointer: registers.rip }),
        };
        let record = match record {
            Ok(record) => record,
            Err(fault) => return ended(Outcome::Fault(fault)),
        };
        match self.deliver_fault(record) {
            Some(Ok(())) => Next::Enter(told | self.happened()),
            Some(Err(outcome)) => ended(outcome),
            None => ended(Outcome::Fault(fault::report(&record))),
        }
    }

    fn terminate(&mut self, registers: &Registers) -> Next {
        if self.withheld.is_some() {
            return Next::Stop(Stop::NoCheckpoint);
        }
        self.exits.terminate += 1;
        match (u8::try_from(registers.rdi), registers.rdi) {
            (Ok(status), _) => ended(Outcome::Exited(status)),
            (_, STATUS_OUT_OF_MEMORY) => ended(Outcome::MemoryLimit { limit_bytes: self.limits.memory_bytes }),
            (_, status) => self.fault(
                registers,
                FaultCause::VirtualInstruction {
                    name: "TERMINATE".to_owned(),
                    detail: format!("status {status:#x} is neither 0 to 255 nor {STATUS_OUT_OF_MEMORY:#x}"),
                },
            ),
        }
    }

    fn change(&mut self, registers: &Registers) -> Next {
        self.exits.protect += 1;
        self.hardware.supervisor_changed = true;
        let (machine, memory_bytes) = (&mut self.hardware.machine, self.limits.memory_bytes);
        match Change::new(machine, self.gateway.rings().end(), memory_bytes) {
            Ok(change) => {
                self.changing = Some(change);
                Next::Enter(self.happened())
            }
            Err(error) => self.change_failed(registers, &error),
        }
    }

    fn go_on_changing(&mut self, turn: &mut Turn<'_>) -> Next {
        let Some(changing) = &mut self.changing else { return Next::Enter(self.happened()) };
        match changing.step(&mut self.hardware.machine) {
            Ok(true) => {
                self.changing = None;
                Next::Enter(self.happened())
            }
            Ok(false) if turn.is_over() => {
                self.phase = Phase::Running(self.happened());
                Next::Stop(Stop::Slice)
            }
            Ok(false) => Next::Enter(self.happened()),
            Err(error) => {
                let registers = changing.registers();
                self.change_failed(&registers, &error)
            }
        }
    }

    fn change_failed(&mut self, registers: &Registers, error: &ChangeError) -> Next {
        match error {
            ChangeError::Stub => ended(Outcome::Lost(error.to_string())),
            error => {
                let (name, detail) = ("PROTECT".to_owned(), error.to_string());
                self.fault(registers, FaultCause::VirtualInstruction { name, detail })
            }
        }
    }

    /// Gives up the CPU until something happens: a frame to receive, room to transmit, the time given, or the end.
    fn idle(&mut self, registers: Registers, frame: &mut Vec<u8>) -> Next {
        if self.withheld.is_some() {
            return Next::Stop(Stop::NoCheckpoint);
        }
        self.exits.idle += 1;
        self.result(registers, 0);
        let until = match registers.rdi {
            IDLE_FOREVER => None,
            // A time too far away to name is as good as none.
            ns => self.at_clock(ns),
        };
        match self.look(until, frame) {
            Ok(happened) => Next::Enter(happened),
            Err(stop) => Next::Stop(stop),
        }
    }
}

fn ended(outcome: Outcome) -> Next {
    Next::Stop(Stop::Ended(outcome))
}

//! Running a VM to its end: the loop around KVM_RUN, and what each exit means.

use super::{
    Phase, Vm,
    door::Course,
    fault,
    protect::{self, ProtectError},
};
use crate::{
    gateway::Verdict,
    kvm::{Exit, Registers},
    machine::stubs::{Stub, stub_at},
};
use denali_abi::{
    instruction::{CHECKPOINT, IDLE, IDLE_FOREVER, KICK, PROTECT, STATUS_OUT_OF_MEMORY, TERMINATE},
    memory::REGISTERS,
    registers::{VirtualRegisters, pending},
};
use denali_protocol::job::{Fault, FaultCause, Outcome, Usage};
use std::{
    mem::offset_of,
    time::{Duration, Instant},
};
use vm_memory::Bytes;

/// What to do after an exit.
enum Next {
    /// Enter again, and tell the guest these pending bits.
    Enter(u64),
    /// Enter again as before: the guest may not have run at all.
    Resume,
    /// Over.
    End(Outcome),
}

impl Vm {
    /// Runs the VM to its end, and says how it ended and what it used. It can't be run again; dropping it destroys it,
    /// which on a busy host waits some milliseconds for the kernel.
    pub(crate) fn run(&mut self) -> (Outcome, Usage) {
        let course = Course::begin();
        let start_us = self.begun.elapsed().as_micros() as u64;
        {
            let mut inside = self.door.lock();
            inside.course = Some(course);
            inside.wake();
        }
        let mut happened = pending::RECEIVE;
        let outcome = loop {
            if let Some(verdict) = self.door.lock().verdict.clone() {
                break self.sentence(verdict);
            }
            self.write_entry_registers(course, happened);
            let exit = self.machine.run();
            match self.handle(exit) {
                Next::Enter(bits) => happened = bits,
                Next::Resume => {}
                Next::End(outcome) => break outcome,
            }
        };
        let memory_peak_kib = self.machine.memory().resident_kib(&self.pagemap).unwrap_or(0);
        self.end(outcome, course, start_us, memory_peak_kib)
    }

    /// Takes what the guest still had in its ring, and closes the door.
    fn end(&mut self, outcome: Outcome, course: Course, start_us: u64, memory_peak_kib: u64) -> (Outcome, Usage) {
        let (cpu, wall) = (course.cpu(), course.wall());
        let mut inside = self.door.lock();
        let late = inside.gateway.finish().err().map(Verdict::from);
        inside.phase = Phase::Ended;
        let verdict = inside.verdict.take().or(late);
        self.door.count_kicks(&mut inside);
        self.exits.kicks = inside.kicks;
        drop(inside);
        // A guest that left a lie in its ring, or wrote too much, before it ended itself did not end well.
        let outcome = match (outcome, verdict) {
            (Outcome::Exited(_), Some(verdict)) => self.sentence(verdict),
            (outcome, _) => outcome,
        };
        let usage = Usage {
            cpu_us: cpu.as_micros() as u64,
            wall_us: wall.as_micros() as u64,
            start_us,
            memory_peak_kib,
            exits: self.exits,
        };
        (outcome, usage)
    }

    fn sentence(&self, verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::Outcome(outcome) => outcome,
            Verdict::Fault(cause) => Outcome::Fault(Fault { cause, instruction_pointer: self.machine.registers().rip }),
        }
    }

    fn write_entry_registers(&self, course: Course, happened: u64) {
        let ram = self.machine.memory().ram();
        let place = |offset| (REGISTERS as usize) + offset;
        // Constant addresses inside of every guest's memory: these can't fail.
        let _ = ram.write_obj(course.cpu().as_micros() as u64, place(offset_of!(VirtualRegisters, cpu_used_us)));
        let _ = ram.write_obj(happened, place(offset_of!(VirtualRegisters, pending)));
    }

    fn handle(&mut self, exit: Exit) -> Next {
        let registers = self.machine.registers();
        let fault = |cause| Next::End(Outcome::Fault(Fault { cause, instruction_pointer: registers.rip }));
        match exit {
            Exit::Out { .. } if stub_at(registers.rip).is_some() => self.stub(&registers),
            Exit::Out { port: IDLE, bytes: 4 } => self.idle(registers),
            Exit::Out { port: TERMINATE, bytes: 4 } => self.terminate(registers.rdi, fault),
            Exit::Out { port: PROTECT, bytes: 4 } => self.protect(registers.rip),
            Exit::Out { port: CHECKPOINT, bytes: 4 } => {
                self.exits.checkpoint += 1;
                self.result(registers, 0);
                Next::Enter(self.door.lock().happened())
            }
            Exit::Out { port: KICK, .. } => self.kick(),
            Exit::Out { port, .. } | Exit::In { port } => {
                self.exits.fault += 1;
                fault(FaultCause::UnknownPort { port })
            }
            Exit::Mmio { address } => {
                self.exits.fault += 1;
                fault(FaultCause::Page { address, access: denali_protocol::job::Access::Read })
            }
            Exit::Interrupted => {
                self.exits.interrupted += 1;
                Next::Resume
            }
            Exit::Shutdown => {
                self.exits.fault += 1;
                fault(FaultCause::Shutdown)
            }
            Exit::Host { errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                Next::End(Outcome::Lost(format!("the host could not run the VM: {error}")))
            }
        }
    }

    /// The first KICK exits; from then on the doorbell takes them, but for unusual ones on some hosts (by `outs`, say).
    fn kick(&mut self) -> Next {
        let happened = {
            let mut inside = self.door.lock();
            inside.kicks += 1;
            inside.serve();
            inside.happened()
        };
        if std::mem::replace(&mut self.has_doorbell, true) {
            return Next::Enter(happened);
        }
        let doorbell = self.door.doorbell.try_clone().map_err(|error| error.to_string());
        match doorbell.and_then(|doorbell| self.machine.set_doorbell(doorbell).map_err(|error| error.to_string())) {
            Ok(()) => Next::Enter(happened),
            Err(error) => Next::End(Outcome::Lost(error)),
        }
    }

    fn result(&mut self, registers: Registers, value: u64) {
        self.machine.set_registers(Registers { rax: value, ..registers });
    }

    fn stub(&mut self, registers: &Registers) -> Next {
        self.exits.fault += 1;
        let fault = match stub_at(registers.rip) {
            Some(Stub::Exception(vector)) => fault::exception(&self.machine, registers, vector),
            Some(Stub::SystemCall) => Ok(fault::system_call(registers)),
            _ => Ok(Fault { cause: FaultCause::Shutdown, instruction_pointer: registers.rip }),
        };
        Next::End(match fault {
            Ok(fault) => Outcome::Fault(fault),
            Err(error) => Outcome::Lost(error.to_string()),
        })
    }

    fn terminate(&mut self, status: u64, fault: impl Fn(FaultCause) -> Next) -> Next {
        self.exits.terminate += 1;
        match (u8::try_from(status), status) {
            (Ok(status), _) => Next::End(Outcome::Exited(status)),
            (_, STATUS_OUT_OF_MEMORY) => Next::End(Outcome::MemoryLimit { limit_bytes: self.limits.memory_bytes }),
            _ => fault(FaultCause::VirtualInstruction {
                name: "TERMINATE".to_owned(),
                detail: format!("status {status:#x} is neither 0 to 255 nor {STATUS_OUT_OF_MEMORY:#x}"),
            }),
        }
    }

    fn protect(&mut self, instruction_pointer: u64) -> Next {
        self.exits.protect += 1;
        let door = std::sync::Arc::clone(&self.door);
        let stopping = || door.lock().verdict.is_some();
        match protect::protect(&mut self.machine, self.limits.memory_bytes, stopping) {
            Ok(()) => Next::Enter(self.door.lock().happened()),
            // The verdict that interrupted it is found before the next entry.
            Err(ProtectError::Interrupted) => Next::Resume,
            Err(error @ (ProtectError::Stub | ProtectError::Machine(_))) => Next::End(Outcome::Lost(error.to_string())),
            Err(error) => {
                let cause = FaultCause::VirtualInstruction { name: "PROTECT".to_owned(), detail: error.to_string() };
                Next::End(Outcome::Fault(Fault { cause, instruction_pointer }))
            }
        }
    }

    /// Gives up the CPU until something happens: a frame to receive, room to transmit, the time given, or the end.
    fn idle(&mut self, registers: Registers) -> Next {
        self.exits.idle += 1;
        self.result(registers, 0);
        let until = match registers.rdi {
            IDLE_FOREVER => None,
            // A time too far away to name is as good as none.
            ns => self.clock_zero.checked_add(Duration::from_nanos(ns)),
        };
        let mut inside = self.door.lock();
        let happened = loop {
            inside.serve();
            let mut happened = inside.happened();
            if until.is_some_and(|until| until <= Instant::now()) {
                happened |= pending::TIMER;
            }
            if happened != 0 || inside.verdict.is_some() {
                break happened;
            }
            inside.phase = Phase::Idle(until);
            inside = self.door.wait(inside, until);
        };
        inside.wake();
        Next::Enter(happened)
    }
}

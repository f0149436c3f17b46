//! What a kernel hears: the node's commands, input that VMs wait for, and the bell.

use super::{Kernel, Pending, State, Work};
use crate::{
    schedule::VmKey,
    worker::{
        message::{Command, Input},
        socket::{Commands, Next, SocketError},
    },
};
use rustix::{
    event::{Timespec, epoll},
    net::{RecvAncillaryBuffer, RecvFlags, recvmsg},
    time::{Itimerspec, TimerfdTimerFlags, timerfd_settime},
};
use std::{
    io::IoSliceMut,
    sync::PoisonError,
    time::{Duration, Instant},
};

/// Events taken at a time.
const EVENTS: usize = 64;

/// What an event is about: the node's socket, the bell, the clock, or, from here on, the input of the VM of that number.
pub(super) const COMMANDS: u64 = 0;
pub(super) const BELL: u64 = 1;
pub(super) const CLOCK: u64 = 2;
pub(super) const INPUTS: u64 = 3;

impl Kernel {
    /// Takes what happened; waits for something to happen, if it may.
    pub(super) fn listen(&self, wait: bool) {
        let timeout = (!wait).then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        let mut events = Vec::with_capacity(EVENTS);
        // After an error (a signal) nothing happened.
        if epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()).is_err() {
            return;
        }
        for event in events {
            match event.data.u64() {
                COMMANDS => self.obey(),
                BELL => self.hear(),
                // What is due is looked for before the next pick.
                CLOCK => {}
                input => self.bench.give(Work::Feed(VmKey(input.wrapping_sub(INPUTS)))),
            }
        }
    }

    /// Takes what rang, so that it can ring again.
    fn hear(&self) {
        let mut rang = [0; EVENTS];
        let mut slices = [IoSliceMut::new(&mut rang)];
        let _ = recvmsg(&self.bell[1], &mut slices, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT);
    }

    /// Sees to it that some runner that waits hears of the next idle VM's time.
    pub(super) fn set_clock(&self, state: &mut State) {
        let Some(next) = state.next_clock() else { return };
        // Zero would unset it. A time too far away to name is no one's.
        let time = next.saturating_duration_since(state.now).max(Duration::from_micros(1));
        let it_value = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // The times are in range, so it can't fail.
        let _ = timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &once);
    }

    /// Carries out what the node asks for.
    fn obey(&self) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let obeyed = match commands.next() {
                Ok(Next::Command(command)) => self.carry_out(command, &mut commands),
                // Whatever comes from now on is an event of its own.
                Ok(Next::Nothing) => return,
                Ok(Next::Closed) => return self.close(Ok(())),
                Err(error) => Err(error),
            };
            if let Err(error) = obeyed {
                return self.close(Err(error));
            }
        }
    }

    fn carry_out(&self, command: Command, commands: &mut Commands) -> Result<(), SocketError> {
        match command {
            Command::Start(start) => {
                let bundle = commands.take_descriptor()?.into();
                let input = match start.input {
                    Input::Descriptor => Some(commands.take_descriptor()?.into()),
                    Input::Bytes(_) | Input::Messages => None,
                };
                let key = VmKey(start.run.0);
                self.state().admit(key, Pending { start, bundle, input, came: Instant::now() });
            }
            Command::Cancel(run) => self.state().cancel(VmKey(run.0)),
            Command::Input { run, bytes, end } => {
                self.state().post(VmKey(run.0), |mail| mail.push(bytes, end));
            }
            Command::Cpus(cpus) => self.lease(cpus),
            Command::Memory(bytes) => {
                self.state().set_budget(vms_part(bytes) / 1024);
                self.relieve();
            }
            Command::Swap(bytes) => self.bench.give(Work::SwapInto(commands.take_descriptor()?.into(), bytes)),
        }
        Ok(())
    }

    fn lease(&self, cpus: u32) {
        let mut state = self.state();
        state.scheduler.set_cpus(cpus);
        for key in state.scheduler.excess() {
            if let Some(slot) = state.slots.get(&key) {
                slot.interrupt();
            }
        }
    }
}

/// What VMs may take of a worker's memory: it needs some for itself, for kept hardware and for the images on their way to and
/// from disk.
fn vms_part(bytes: u64) -> u64 {
    const OWN_BYTES: u64 = 8 << 20;
    bytes - OWN_BYTES.min(bytes / 3)
}

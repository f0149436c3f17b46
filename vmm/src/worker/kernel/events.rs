//! What a kernel hears: the node's commands, input that VMs wait for, and the bell.

use super::{Kernel, Pending, Slot, State};
use crate::{
    schedule::VmKey,
    worker::{
        message::{Command, Input, RunId},
        socket::{Commands, Next, SocketError},
    },
};
use rustix::{
    event::{Timespec, epoll},
    time::{Itimerspec, TimerfdTimerFlags, timerfd_settime},
};
use std::{
    os::fd::BorrowedFd,
    sync::PoisonError,
    time::{Duration, Instant},
};

/// Events taken at a time.
const EVENTS: usize = 64;

/// What an event is about: the node's socket, the bell, the clock, or, from here on, the input of the VM of that number.
pub(super) const COMMANDS: u64 = 0;
pub(super) const BELL: u64 = 1;
pub(super) const CLOCK: u64 = 2;
const INPUTS: u64 = 3;

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
                BELL => {
                    let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                }
                // What is due is looked for before the next pick.
                CLOCK => {}
                input => self.state().wake(VmKey(input.wrapping_sub(INPUTS))),
            }
        }
    }

    /// Sees to it that some runner that waits hears of the next idle VM's time. One that is earlier than need be is left: it
    /// costs a look, as much as to set it each time that a VM is woken before its time.
    pub(super) fn set_clock(&self, state: &mut State) {
        let Some(next) = state.scheduler.next_timer() else { return };
        let now = Instant::now();
        if state.clock_set.is_some_and(|set| now < set && set <= next) {
            return;
        }
        // Zero would unset it. A time too far away to name is no one's.
        let time = next.saturating_duration_since(now).max(Duration::from_micros(1));
        let it_value = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // The times are in range, so it can't fail.
        let _ = timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &once);
        state.clock_set = Some(next);
    }

    /// Carries out what the node asks for.
    fn obey(&self) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let obeyed = match commands.next() {
                Ok(Next::Command(command)) => self.carry_out(command, &mut commands),
                Ok(Next::Nothing) => break,
                Ok(Next::Closed) => return self.close(Ok(())),
                Err(error) => Err(error),
            };
            if let Err(error) = obeyed {
                return self.close(Err(error));
            }
        }
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        if let Err(error) = epoll::modify(&self.events, &*commands, epoll::EventData::new_u64(COMMANDS), once) {
            self.close(Err(SocketError::Io(error.into())));
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
            Command::Cancel(run) => self.cancel(run),
            Command::Input { run, bytes, end } => {
                let mut state = self.state();
                if let Some(slot) = state.slots.get_mut(&VmKey(run.0)) {
                    slot.mail.push(bytes, end);
                    state.wake(VmKey(run.0));
                }
            }
            Command::Cpus(cpus) => self.lease(cpus),
            Command::Memory(bytes) => {
                let mut state = self.state();
                state.room.budget_kib = vms_part(bytes) / 1024;
                state.let_in();
                drop(state);
                self.relieve();
            }
            Command::Swap(bytes) => self.swap_into(commands.take_descriptor()?.into(), bytes),
        }
        Ok(())
    }

    fn cancel(&self, run: RunId) {
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(&VmKey(run.0)) {
            slot.cancelled = true;
            slot.interrupt();
            state.wake(VmKey(run.0));
        }
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

    /// Makes the input of a VM an event, once. An error means that the VM would not hear of it.
    pub(super) fn watch(&self, key: VmKey, input: BorrowedFd<'_>, slot: &mut Slot) -> rustix::io::Result<()> {
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(INPUTS.wrapping_add(key.0));
        match slot.watched {
            true => epoll::modify(&self.events, input, data, once),
            false => epoll::add(&self.events, input, data, once),
        }?;
        slot.watched = true;
        Ok(())
    }

    /// A VM ends, or is not the one that was watched: its input is no event any more. Others may hold the same pipe, so closing
    /// this descriptor would not end it.
    pub(super) fn unwatch(&self, key: VmKey, input: Option<BorrowedFd<'_>>) {
        let was_watched = |slot: &mut Slot| std::mem::take(&mut slot.watched);
        if let Some(input) = input
            && self.state().slots.get_mut(&key).is_some_and(was_watched)
        {
            // It is there, so this can't fail.
            let _ = epoll::delete(&self.events, input);
        }
    }
}

/// What VMs may take of a worker's memory: it needs some for itself, for kept hardware and for the images on their way to and
/// from disk.
fn vms_part(bytes: u64) -> u64 {
    const OWN_BYTES: u64 = 8 << 20;
    bytes - OWN_BYTES.min(bytes / 3)
}

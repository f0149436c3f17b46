//! What a kernel hears: the node's commands, input that VMs wait for, and the bell.

use super::{Kernel, Pending, Slot};
use crate::{
    schedule::VmKey,
    worker::{
        message::{Command, Input, RunId},
        socket::{Commands, Next, SocketError},
    },
};
use rustix::event::{Timespec, epoll};
use std::{
    os::fd::BorrowedFd,
    sync::PoisonError,
    time::{Duration, Instant},
};

/// Events taken at a time.
const EVENTS: usize = 64;

/// What an event is about: the node's socket, the bell, or, from here on, the input of the VM of that number.
pub(super) const COMMANDS: u64 = 0;
pub(super) const BELL: u64 = 1;
const INPUTS: u64 = 2;

impl Kernel {
    /// Takes what happened, or waits for something to happen.
    pub(super) fn listen(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
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
                input => self.state().wake(VmKey(input.wrapping_sub(INPUTS))),
            }
        }
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
                    slot.mail.push((bytes, end));
                    state.wake(VmKey(run.0));
                }
            }
            Command::Cpus(cpus) => self.lease(cpus),
            Command::Memory(bytes) => {
                let mut state = self.state();
                state.budget_kib = vms_part(bytes) / 1024;
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
            state.queue_for_memory.retain(|key| key.0 != run.0);
            state.wake(VmKey(run.0));
        }
    }

    fn lease(&self, cpus: u32) {
        let mut state = self.state();
        state.scheduler.set_cpus(cpus);
        for key in state.scheduler.overdue(Instant::now()) {
            if let Some(slot) = state.slots.get(&key) {
                slot.interrupt();
            }
        }
    }

    /// Makes the input of a VM an event, once.
    pub(super) fn watch(&self, key: VmKey, input: BorrowedFd<'_>, slot: &mut Slot) {
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(INPUTS.wrapping_add(key.0));
        // It fails for what is always readable, and such input is never waited for; and where the kernel has no memory for it:
        // then the VM is looked at again when its own time comes.
        let _ = match std::mem::replace(&mut slot.watched, true) {
            true => epoll::modify(&self.events, input, data, once),
            false => epoll::add(&self.events, input, data, once),
        };
    }
}

/// What VMs may take of a worker's memory: it needs some for itself, for kept hardware and for the images on their way to and
/// from disk.
fn vms_part(bytes: u64) -> u64 {
    const OWN_BYTES: u64 = 8 << 20;
    bytes - OWN_BYTES.min(bytes / 3)
}

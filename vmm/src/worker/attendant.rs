//! The attendant: one thread that serves the rings of all running VMs when they kick, when input comes and from time to
//! time, and that enforces their limits.

use crate::vm::Door;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// The attendant, as other threads see it.
#[derive(Clone)]
pub(super) struct Attendant(Arc<Shared>);

struct Shared {
    doors: Mutex<Vec<Arc<Door>>>,
    /// Written when a door was added or knocked at from inside of this process.
    bell: OwnedFd,
}

impl Attendant {
    /// Starts the thread. It lives as long as the process.
    pub(super) fn start() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { doors: Mutex::new(Vec::new()), bell });
        let attendant = Self(Arc::clone(&shared));
        thread::Builder::new().name("attendant".to_owned()).spawn(move || shared.serve())?;
        Ok(attendant)
    }

    /// Attends to a VM from now on, until it ends.
    pub(super) fn add(&self, door: &Arc<Door>) {
        self.0.doors.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(door));
        self.ring();
    }

    /// Asks for a look at every VM.
    pub(super) fn ring(&self) {
        // The counter can't overflow; it is only ever read to zero.
        let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }
}

impl Shared {
    fn serve(&self) {
        loop {
            let mut after = None;
            let mut waiting: Vec<(Arc<Door>, bool)> = Vec::new();
            self.doors.lock().unwrap_or_else(PoisonError::into_inner).retain(|door| match door.attend() {
                None => false,
                Some(look) => {
                    after = Some(after.map_or(look.after, |a: Duration| a.min(look.after)));
                    waiting.push((Arc::clone(door), look.on_input));
                    true
                }
            });
            self.wait(&waiting, after);
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.bell, &mut count);
        }
    }

    /// Waits for a kick, for input, for the bell, or for the time.
    fn wait(&self, waiting: &[(Arc<Door>, bool)], after: Option<Duration>) {
        let mut polled = vec![PollFd::new(&self.bell, PollFlags::IN)];
        for (door, on_input) in waiting {
            polled.push(PollFd::new(&door.doorbell, PollFlags::IN));
            if let (true, Some(input)) = (on_input, &door.input) {
                polled.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
            }
        }
        let timeout = after.and_then(|after| Timespec::try_from(after).ok());
        // An error (a signal) is one more look.
        let _ = poll(&mut polled, timeout.as_ref());
    }
}

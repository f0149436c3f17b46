//! The attendant: one thread that serves the rings of all running VMs when they kick, when input comes and from time to
//! time, and that enforces their limits.
//!
//! Each VM is looked at when something of its own is ready or due, so a busy one costs the others nothing; and a VM that
//! kicks without end gets [`KICKS_PER_INTERVAL`] looks of it.

use super::AbortOnPanic;
use crate::vm::{Door, LOOK_INTERVAL};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

/// Looks that a VM's kicks may cause in [`LOOK_INTERVAL`]; the next one then comes with time. A guest that kicks when its
/// ring of 256 KiB is half full can still send 400 MB/s.
const KICKS_PER_INTERVAL: u32 = 64;

/// The attendant, as other threads see it.
#[derive(Clone)]
pub(super) struct Attendant(Arc<Shared>);

struct Shared {
    /// Doors to look at now, known or not.
    calls: Mutex<Vec<Arc<Door>>>,
    /// Written when there are calls.
    bell: OwnedFd,
}

impl Attendant {
    /// Starts the thread. It lives as long as the process.
    pub(super) fn start() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { calls: Mutex::new(Vec::new()), bell });
        let attendant = Self(Arc::clone(&shared));
        thread::Builder::new().name("attendant".to_owned()).spawn(move || {
            let _guard = AbortOnPanic;
            shared.serve();
        })?;
        Ok(attendant)
    }

    /// Looks at a VM now, and attends to it from then on until it ends.
    pub(super) fn call(&self, door: &Arc<Door>) {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(door));
        // The counter can't overflow; it is only ever read to zero.
        let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }
}

/// A VM attended to.
struct Post {
    door: Arc<Door>,
    /// When to look next.
    due: Instant,
    /// Whether input to read is a reason to look.
    on_input: bool,
    /// Looks that kicks may still cause before the interval that began at `renewed` is over.
    kicks_left: u32,
    renewed: Instant,
}

impl Post {
    fn new(door: Arc<Door>, now: Instant) -> Self {
        Self { door, due: now, on_input: false, kicks_left: KICKS_PER_INTERVAL, renewed: now }
    }

    /// Looks at the VM. `false` when it has ended.
    fn look(&mut self, now: Instant) -> bool {
        let Some(look) = self.door.attend() else { return false };
        // A time too far away to name: then some looks in vain.
        self.due = now.checked_add(look.after).unwrap_or(now + LOOK_INTERVAL);
        self.on_input = look.on_input;
        if now.saturating_duration_since(self.renewed) >= LOOK_INTERVAL {
            (self.kicks_left, self.renewed) = (KICKS_PER_INTERVAL, now);
        }
        true
    }
}

impl Shared {
    fn serve(&self) {
        let mut posts: Vec<Post> = Vec::new();
        loop {
            let now = Instant::now();
            self.answer(&mut posts, now);
            posts.retain_mut(|post| post.due > now || post.look(now));
            self.wait(&mut posts);
        }
    }

    fn answer(&self, posts: &mut Vec<Post>, now: Instant) {
        let mut count = [0; 8];
        // Before the calls are taken, so that a call after that rings again.
        let _ = rustix::io::read(&self.bell, &mut count);
        for door in self.calls.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            match posts.iter_mut().find(|post| Arc::ptr_eq(&post.door, &door)) {
                Some(post) => post.due = now,
                None => posts.push(Post::new(door, now)),
            }
        }
    }

    /// Waits for a kick, for input, for the bell, or for the time, and makes due what is ready.
    fn wait(&self, posts: &mut [Post]) {
        // What each descriptor after the bell's belongs to, and whether it is a doorbell.
        let mut reasons = Vec::new();
        let mut polled = vec![PollFd::new(&self.bell, PollFlags::IN)];
        for (place, post) in posts.iter().enumerate() {
            if post.kicks_left > 0 {
                polled.push(PollFd::new(&post.door.doorbell, PollFlags::IN));
                reasons.push((place, true));
            }
            if let (true, Some(input)) = (post.on_input, &post.door.input) {
                polled.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
                reasons.push((place, false));
            }
        }
        let now = Instant::now();
        let due = posts.iter().map(|post| post.due).min();
        let timeout = due.and_then(|due| Timespec::try_from(due.saturating_duration_since(now)).ok());
        // After an error (a signal) nothing is ready, and what is due is looked at.
        let ready = poll(&mut polled, timeout.as_ref()).unwrap_or(0);
        if ready == 0 {
            return;
        }
        let events: Vec<bool> = polled.iter().skip(1).map(|fd| !fd.revents().is_empty()).collect();
        for ((place, doorbell), _) in reasons.into_iter().zip(events).filter(|(_, event)| *event) {
            posts[place].due = now;
            posts[place].kicks_left -= u32::from(doorbell);
        }
    }
}

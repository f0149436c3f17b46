//! Readiness, and the seam to whoever waits.
//!
//! Nothing here waits. A call that would is [`Stop::Blocked`] with a [`Wait`]; its caller lets another thread run. When
//! [`Fs::generation`] has moved, or the embedder knows of input, or [`Fs::next_deadline`] is past, the caller asks
//! [`Fs::is_ready`] for each waiting thread and makes the call again for those that are. `poll`, `select` and
//! `epoll_wait` are the same with [`Fs::readiness`] and [`Fs::epoll_wait`] instead.
use super::{
    Fs,
    description::Description,
    inode::{Inode, Kind},
    world::{Events, Generated, Stream},
};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

/// How often an object became readable and writable, for edge-triggered waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Edges {
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// The other side went.
    pub(crate) end: u64,
}

/// What a call waits for: any of `events` on an open file description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub(super) description: u64,
    /// What it waits for, besides errors and the end.
    pub events: Events,
}

/// Why a read or write did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It failed.
    Error(Errno),
    /// It failed with `EPIPE`, and the thread gets `SIGPIPE`.
    BrokenPipe,
    /// It goes on when [`Fs::set_text`] gave the text of this file, which is made anew each time.
    Text(Generated),
    /// It goes on when `wait` is ready, with what is left after `done` bytes. Where a signal ends it, it gave `done`, or
    /// `EINTR` for none.
    Blocked {
        /// Bytes that were moved.
        done: usize,
        /// What it waits for.
        wait: Wait,
    },
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Error(error)
    }
}

impl Fs {
    /// Moves whenever something may have become ready: a waiter that saw it unmoved needs not look again.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn touch(&mut self) {
        self.generation += 1;
    }

    /// Whether the call that waits for this is worth making again: also if its description is gone.
    #[must_use]
    pub fn is_ready(&self, wait: Wait) -> bool {
        let Some(description) = self.descriptions.get(wait.description) else { return true };
        self.description_ready(description).meets(wait.events.and(Events::ERR).and(Events::HUP))
    }

    /// What can be done with a descriptor without waiting; `EBADF` is `POLLNVAL`.
    pub fn readiness(&self, fd: i32) -> Result<Events, Errno> {
        Ok(self.description_ready(self.description(fd)?))
    }

    pub(super) fn description_ready(&self, description: &Description) -> Events {
        let always = Events::IN.and(Events::OUT);
        let Ok(inode) = self.inodes.get(description.ino) else { return Events::ERR };
        match &inode.kind {
            Kind::Standard(0) => Events::IN.when(self.world.readable()),
            Kind::Standard(number) => Events::OUT.when(self.world.writable(stream(*number))),
            Kind::Pipe(pipe) => pipe.ready(description.readable(), description.writable()),
            Kind::Counter(counter) => counter.ready(),
            Kind::Timer(timer) => Events::IN.when(timer.expirations(self.world.now()) > 0),
            Kind::Epoll(epoll) => Events::IN.when(self.epoll_ready(epoll)),
            Kind::Socket(socket) => self.net.ready(*socket),
            _ => always,
        }
    }

    /// The edges of an object.
    pub(super) fn edges(&self, inode: &Inode) -> Edges {
        match &inode.kind {
            Kind::Pipe(pipe) => pipe.edges,
            Kind::Counter(counter) => counter.edges,
            Kind::Timer(timer) => Edges { read: timer.edge(self.world.now()), ..Edges::default() },
            Kind::Socket(socket) => self.net.edges(*socket),
            Kind::Standard(0) => Edges { read: self.input_edges, ..Edges::default() },
            _ => Edges::default(),
        }
    }

    /// The embedder says that input may have come. It is an edge if the program has read since the last: what it leaves
    /// where it is does not wake it again and again.
    pub fn input_came(&mut self) {
        if !self.input_told && self.world.readable() {
            self.input_told = true;
            self.input_edges += 1;
        }
        self.touch();
    }
}

pub(super) const fn stream(number: u8) -> Stream {
    if number == 2 { Stream::Error } else { Stream::Output }
}

impl Description {
    pub(super) const fn readable(&self) -> bool {
        self.flags & abi::O_PATH == 0 && matches!(self.flags & abi::O_ACCMODE, abi::O_RDONLY | abi::O_RDWR)
    }

    pub(super) const fn writable(&self) -> bool {
        self.flags & abi::O_PATH == 0 && matches!(self.flags & abi::O_ACCMODE, abi::O_WRONLY | abi::O_RDWR)
    }
}

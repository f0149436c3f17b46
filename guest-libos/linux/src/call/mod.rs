//! System calls: from a number and six words to what Linux would answer, and to who runs next.
//!
//! Called by the image with the registers of the thread that called. Every pointer is checked against the address space
//! before it is used: a bad one is `EFAULT` and never a fault. What is not served is `ENOSYS`, and counted by number, so
//! that a user learns why a program failed.
//!
//! A call never waits inside: it stops with [`Stop::Waits`], other threads run, and it is made again when what it waits for
//! may be there. It finds out from [`Process::again`], which keeps its deadline and what it has done so far.

mod buffers;
mod epoll;
mod frame;
mod identity;
mod io;
mod limits;
mod memory;
mod message;
mod names;
mod open;
mod others;
mod poll;
mod proc;
mod recent;
mod run;
mod shared;
mod signal;
mod socket;
mod status;
mod switch;
mod table;
mod thread;
mod time;
mod user;

#[cfg(test)]
mod tests;

pub use frame::{Extended, Frame};
pub use identity::{Identity, USER};
pub use limits::stack_bytes;
pub use recent::{Recent, name};
pub use user::Machine;

use crate::{
    errno::Errno,
    fs::{self, Fs},
    mm::Space,
    signal::{Fault, Signal, Signals},
    thread::{Refused, Threads, Tid, Wake},
};
use alloc::{collections::BTreeMap, vec::Vec};

/// What becomes of the CPU after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The thread that called goes on; of its frame only RAX was changed.
    Return,
    /// The frame is to be restored whole: it is another thread's, or leads elsewhere.
    Restore,
    /// The program is over, with this status.
    Exit(u8),
    /// A signal ended the program.
    Killed(Signal),
}

/// A program that runs.
pub struct Process<M: Machine> {
    /// Its memory.
    pub space: Space<M>,
    /// Its files.
    pub files: Fs,
    /// Its path, absolute.
    pub path: Vec<u8>,
    /// What it was started with.
    pub identity: Identity,
    limits: limits::Limits,
    /// Calls that are not served, and how often each was made.
    pub unserved: BTreeMap<u32, u64>,
    /// Shared mappings of files.
    shared: Vec<shared::Shared>,
    /// The last calls.
    pub recent: Recent,
    /// Threads and processes that were asked for and could not be.
    pub refused: Refused,
    threads: Threads,
    signals: Signals,
    /// Of each thread that does not have the CPU.
    parked: BTreeMap<Tid, Parked>,
    /// The thread whose extended state the CPU holds.
    loaded: Tid,
    /// Of the call that is made again.
    again: Option<Again>,
    /// The last fault: its numbers are in each signal frame.
    fault: Fault,
    /// Something may be due besides the call: look before the thread goes on.
    attention: bool,
    /// When the machine's timer is set to, in ns of its clock.
    timer_ns: u64,
    /// [`Fs::generation`] when those that wait for files were last asked.
    files_seen: u64,
}

/// What is kept of a thread while others run.
#[derive(Clone, Debug)]
struct Parked {
    frame: Frame,
    fs_base: u64,
    /// Empty where the thread's is in the CPU.
    extended: Extended,
    /// The call that it waits in.
    call: Option<Waiting>,
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    waits: Waits,
    number: u32,
    arguments: [u64; 6],
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    on: On,
    /// When it stops to wait, in ns of the VM's clock.
    until_ns: Option<u64>,
    /// What it would return if it were interrupted: bytes that it has moved. 0 for `EINTR`.
    done: u64,
}

/// Whose change may let a call go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// Nobody's but the clock's, or a signal's.
    Time,
    /// The thread waits in a queue of [`Threads`] already.
    Futex,
    /// An open file's.
    File(fs::Wait),
    /// Any file's.
    Files,
}

/// A call that is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Again {
    wake: Wake,
    until_ns: Option<u64>,
    done: u64,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Error(Errno),
    /// It waits, and is made again.
    Waits(Waits),
    /// The thread goes behind all others, and returns 0.
    Yields,
    /// The thread has ended.
    Ended(Option<i32>),
    /// The program has.
    Exit(i32),
    /// The frame was replaced (`rt_sigreturn`).
    Replaced,
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Error(error)
    }
}

/// What a call answers.
type Answer = Result<u64, Stop>;

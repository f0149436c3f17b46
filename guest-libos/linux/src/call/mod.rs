//! System calls: from a number and six words to what Linux would answer.
//!
//! Called by the image with the registers of the thread that called. Every pointer is checked against the address space
//! before it is used: a bad one is `EFAULT` and never a fault. What is not served is `ENOSYS`, and counted by number, so
//! that a user learns why a program failed.

mod file;
mod frame;
mod identity;
mod memory;
mod time;
mod user;

pub use frame::Frame;
pub use identity::STACK_BYTES;
pub use user::{Machine, Stream};

use crate::{errno::Errno, mm::Space};
use alloc::{collections::BTreeMap, vec::Vec};
use linux_raw_sys::general as nr;

/// What becomes of the thread that made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on with this in RAX.
    Return(u64),
    /// The program is over, with this status.
    Exit(u8),
}

/// A program that runs.
#[derive(Debug)]
pub struct Process<M: Machine> {
    /// Its memory.
    pub space: Space<M>,
    /// Its path, absolute.
    pub path: Vec<u8>,
    /// Calls that are not served, and how often each was made.
    pub unserved: BTreeMap<u32, u64>,
}

/// What a call answers.
type Answer = Result<u64, Errno>;

impl<M: Machine> Process<M> {
    /// A program in `space`.
    pub fn new(space: Space<M>, path: Vec<u8>) -> Self {
        Self { space, path, unserved: BTreeMap::new() }
    }

    /// Serves the call that `frame` makes.
    pub fn call(&mut self, frame: &Frame) -> Next {
        let number = frame.rax as u32;
        let arguments = frame.arguments();
        if matches!(number, nr::__NR_exit | nr::__NR_exit_group) {
            return Next::Exit(arguments[0] as u8);
        }
        let answer = self.answer(number, arguments);
        Next::Return(answer.unwrap_or_else(Errno::rax))
    }

    fn answer(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, e, f] = arguments;
        match number {
            nr::__NR_write => self.write(a, b, c),
            nr::__NR_writev => self.writev(a, b, c),
            nr::__NR_read => self.read(a, b, c),
            nr::__NR_close => self.descriptor(a).map(|_| 0),
            nr::__NR_ioctl => self.descriptor(a).and(Err(Errno::ENOTTY)),
            nr::__NR_fstat => self.fstat(a, b),
            nr::__NR_newfstatat => self.newfstatat(a, b, c, d),
            nr::__NR_readlink => self.readlink(a, b, c),
            nr::__NR_readlinkat => self.readlink(b, c, d),
            nr::__NR_open | nr::__NR_openat | nr::__NR_access => Err(Errno::ENOENT),
            nr::__NR_poll => Ok(0),
            nr::__NR_fcntl => self.descriptor(a).map(|_| 0),
            nr::__NR_mmap => self.mmap([a, b, c, d, e, f]),
            nr::__NR_munmap => self.space.munmap(a, b).map(|()| 0),
            nr::__NR_mprotect => self.space.mprotect(a, b, c).map(|()| 0),
            nr::__NR_mremap => self.space.mremap(a, b, c, d, e),
            nr::__NR_madvise => self.space.madvise(a, b, c).map(|()| 0),
            nr::__NR_brk => Ok(self.space.brk(a)),
            nr::__NR_arch_prctl => self.arch_prctl(a, b),
            nr::__NR_set_tid_address | nr::__NR_gettid | nr::__NR_getpid => Ok(identity::PROCESS),
            nr::__NR_getuid | nr::__NR_geteuid | nr::__NR_getgid | nr::__NR_getegid => Ok(identity::USER),
            nr::__NR_getppid => Ok(0),
            nr::__NR_uname => self.uname(a),
            nr::__NR_sched_getaffinity => self.sched_getaffinity(b, c),
            nr::__NR_sched_yield => Ok(0),
            nr::__NR_prlimit64 => self.prlimit64(b, c, d),
            nr::__NR_getrandom => self.getrandom(a, b),
            nr::__NR_clock_gettime => self.clock_gettime(a, b),
            nr::__NR_clock_getres => self.clock_getres(a, b),
            nr::__NR_gettimeofday => self.gettimeofday(a),
            nr::__NR_time => self.time(a),
            nr::__NR_nanosleep => self.nanosleep(a),
            nr::__NR_rt_sigaction | nr::__NR_rt_sigprocmask | nr::__NR_sigaltstack => Ok(0),
            nr::__NR_futex => Ok(0),
            // Programs take the refusal well.
            nr::__NR_rseq | nr::__NR_set_robust_list | nr::__NR_clone3 => Err(Errno::ENOSYS),
            _ => {
                *self.unserved.entry(number).or_default() += 1;
                Err(Errno::ENOSYS)
            }
        }
    }
}

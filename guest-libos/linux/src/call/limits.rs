//! Calls about what the program may use and what it has used: rlimits, usage, scheduling.

use super::{Answer, Machine, Process, identity::itself};
use crate::{
    errno::Errno,
    fs::limits::{DESCRIPTORS, MAX_DESCRIPTORS},
    thread::{SLICE_NS, Tid},
};
use linux_raw_sys::general as abi;

const NS: u64 = 1_000_000_000;
/// Ticks a second in what `times` returns.
pub(super) const TICKS: u64 = crate::elf::TICKS_PER_SECOND;

/// `RLIM_INFINITY`.
const INFINITY: u64 = u64::MAX;

/// Bytes of a stack that `RLIMIT_STACK` tells, since a C library takes as many for each thread.
const STACK_BYTES: u64 = 1 << 20;
/// Most bytes of the first thread's stack: Linux's default.
const STACK_BYTES_MOST: u64 = 8 << 20;

/// Bytes of the first thread's stack, in an arena of so many: an eighth. They cost memory when they are touched.
#[must_use]
pub fn stack_bytes(arena_bytes: u64) -> u64 {
    let part = arena_bytes / 8 / crate::mm::PAGE_BYTES * crate::mm::PAGE_BYTES;
    part.clamp(STACK_BYTES, STACK_BYTES_MOST)
}

/// Fixed part of the load that `sysinfo` tells: one is 2¹⁶.
const LOAD_ONE: u64 = 1 << 16;

/// Soft and hard limit of each resource, by its number.
#[derive(Clone, Debug)]
pub(super) struct Limits(pub(super) [[u64; 2]; 16]);

impl Default for Limits {
    fn default() -> Self {
        let mut limits = [[INFINITY; 2]; 16];
        limits[abi::RLIMIT_STACK as usize][0] = STACK_BYTES;
        limits[abi::RLIMIT_CORE as usize][0] = 0;
        limits[abi::RLIMIT_NOFILE as usize] = [DESCRIPTORS as u64, MAX_DESCRIPTORS as u64];
        Self(limits)
    }
}

impl Limits {
    /// What a resource is limited to now.
    pub(super) fn soft(&self, resource: u32) -> u64 {
        self.0.get(resource as usize).map_or(INFINITY, |[soft, _]| *soft)
    }
}

impl<M: Machine> Process<M> {
    pub(super) fn prlimit64(&mut self, pid: u64, resource: u64, new: u64, old: u64) -> Answer {
        itself(pid)?;
        let place = resource as u32 as usize;
        let [was_soft, was_hard] = *self.limits.0.get(place).ok_or(Errno::EINVAL)?;
        if new != 0 {
            let [soft, hard] = self.get(new)?;
            if soft > hard {
                return Err(Errno::EINVAL.into());
            }
            if hard > was_hard {
                return Err(Errno::EPERM.into());
            }
            if old != 0 {
                self.output(old, 16)?;
            }
            self.limits.0[place] = [soft, hard];
            match place as u32 {
                abi::RLIMIT_AS => self.space.set_limit(soft),
                abi::RLIMIT_NOFILE => self.files.set_descriptor_limit(soft),
                _ => {}
            }
        }
        if old == 0 { Ok(0) } else { self.put(old, &[was_soft, was_hard]) }
    }

    /// CPU time is all the program's own: calls are a part of it.
    pub(super) fn getrusage(&mut self, who: u64, address: u64) -> Answer {
        let mut words = [0; 18];
        match who as i32 {
            0 | 1 => {
                let cpu_ns = self.space.pages().cpu_ns();
                words[..2].copy_from_slice(&[cpu_ns / NS, cpu_ns % NS / 1000]);
                words[4] = self.space.mapped() >> 10;
            }
            -1 => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        self.put(address, &words)
    }

    pub(super) fn cpu_ticks(&mut self, address: u64) -> Answer {
        let ticks = |ns: u64| ns / (NS / TICKS);
        if address != 0 {
            let cpu_ns = self.space.pages().cpu_ns();
            self.put(address, &[ticks(cpu_ns), 0, 0, 0])?;
        }
        Ok(ticks(self.now().mono_ns))
    }

    pub(super) fn sysinfo(&mut self, address: u64) -> Answer {
        let (total, free) = (self.space.memory(), self.free_memory());
        let (uptime, threads) = (self.now().mono_ns / NS, self.threads.count() as u64);
        let load = LOAD_ONE;
        self.put(address, &[uptime, load, load, load, total, free, 0, 0, 0, 0, threads, 0, 0, 1])
    }

    /// Bytes that could still be mapped.
    pub(super) fn free_memory(&self) -> u64 {
        self.space.memory().saturating_sub(self.space.mapped())
    }

    /// Sets how many threads there may be, 4,096 at most: each takes some 4 KiB of the embedder's memory.
    pub fn limit_threads(&mut self, most: usize) {
        self.threads.limit(most);
    }

    /// There is one CPU, on one node.
    pub(super) fn getcpu(&mut self, cpu: u64, node: u64) -> Answer {
        for address in [cpu, node].into_iter().filter(|address| *address != 0) {
            self.output(address, 4)?.fill(0);
        }
        Ok(0)
    }

    /// Of which thread a call is: of any that is there, and 0 is the caller.
    pub(super) fn task(&self, tid: u64) -> Result<(), Errno> {
        match tid as u32 {
            0 => Ok(()),
            tid => self.threads.state(Tid(tid)).map(drop).ok_or(Errno::ESRCH),
        }
    }

    /// The slice of a thread.
    pub(super) fn sched_rr_get_interval(&mut self, address: u64) -> Answer {
        self.put(address, &[0, SLICE_NS])
    }

    pub(super) fn sched_getaffinity(&mut self, bytes: u64, address: u64) -> Answer {
        if bytes < 8 || !bytes.is_multiple_of(8) {
            return Err(Errno::EINVAL.into());
        }
        self.put(address, &[1])?;
        Ok(8)
    }

    pub(super) fn sched_setaffinity(&mut self, bytes: u64, address: u64) -> Answer {
        let first = if bytes == 0 { 0 } else { self.input(address, bytes.min(8))?[0] };
        if first & 1 == 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
    }

    /// All threads take turns: policies that would come before others are not allowed.
    pub(super) fn sched_setscheduler(&mut self, policy: u64, parameter: u64) -> Answer {
        let priority = i32::from_le_bytes(self.array(parameter)?);
        match policy as u32 & !abi::SCHED_RESET_ON_FORK {
            abi::SCHED_NORMAL | abi::SCHED_BATCH | abi::SCHED_IDLE if priority == 0 => Ok(0),
            abi::SCHED_FIFO | abi::SCHED_RR if (1..100).contains(&priority) => Err(Errno::EPERM.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    pub(super) fn sched_setparam(&mut self, parameter: u64) -> Answer {
        self.sched_setscheduler(abi::SCHED_NORMAL.into(), parameter)
    }

    pub(super) fn sched_getparam(&mut self, parameter: u64) -> Answer {
        self.output(parameter, 4)?.fill(0);
        Ok(0)
    }

    /// The highest priority of a policy, or the lowest.
    pub(super) fn sched_priority(&mut self, policy: u64, highest: bool) -> Answer {
        match policy as u32 {
            abi::SCHED_NORMAL | abi::SCHED_BATCH | abi::SCHED_IDLE | abi::SCHED_DEADLINE => Ok(0),
            abi::SCHED_FIFO | abi::SCHED_RR => Ok(if highest { 99 } else { 1 }),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// 20 stands for a nice value of 0.
    pub(super) fn getpriority(&mut self, which: u64) -> Answer {
        if which > 2 { Err(Errno::EINVAL.into()) } else { Ok(20) }
    }

    /// Being nice is to nobody's good here.
    pub(super) fn setpriority(&mut self, which: u64, nice: u64) -> Answer {
        match which {
            0..=2 if nice as i32 >= 0 => Ok(0),
            0..=2 => Err(Errno::EACCES.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Threads run one at a time, and what each wrote is there for the next: no barrier has anything to do.
    pub(super) fn membarrier(&mut self, command: u64) -> Answer {
        const SERVED: u32 = abi::membarrier_cmd::MEMBARRIER_CMD_GLOBAL as u32
            | abi::membarrier_cmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED as u32
            | abi::membarrier_cmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as u32;
        match command as u32 {
            0 => Ok(SERVED.into()),
            command if command.is_power_of_two() && command & SERVED != 0 => Ok(0),
            _ => Err(Errno::EINVAL.into()),
        }
    }
}

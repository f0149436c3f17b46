//! Calls about time.

use super::{Answer, Machine, Process};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

const NS: u64 = 1_000_000_000;

/// The clocks (`CLOCK_*`) that show the time of day.
const REALTIME: [u32; 3] = [abi::CLOCK_REALTIME, abi::CLOCK_REALTIME_COARSE, abi::CLOCK_TAI];
/// Those that show the time since the start.
const MONOTONIC: [u32; 4] =
    [abi::CLOCK_MONOTONIC, abi::CLOCK_MONOTONIC_RAW, abi::CLOCK_MONOTONIC_COARSE, abi::CLOCK_BOOTTIME];
/// Those that show CPU time.
const CPU: [u32; 2] = [abi::CLOCK_PROCESS_CPUTIME_ID, abi::CLOCK_THREAD_CPUTIME_ID];
/// Others show the CPU time of a thread or process (`clock_getcpuclockid`): its number, inverted, lies above so many bits, of which
/// the lowest say of which kind the time is.
const KIND_BITS: u32 = 3;
const KIND: u64 = 3;
const KINDS: u64 = 3;

impl<M: Machine> Process<M> {
    /// What a clock shows, in ns.
    fn clock(&mut self, id: u64) -> Result<u64, Errno> {
        let machine = self.space.pages();
        let known = id as u32;
        match id {
            _ if REALTIME.contains(&known) => Ok(machine.now().1),
            _ if MONOTONIC.contains(&known) => Ok(machine.now().0),
            _ if CPU.contains(&known) => Ok(machine.cpu_ns()),
            _ if (id as i32) < 0 && id & KIND < KINDS => {
                let cpu_ns = machine.cpu_ns();
                self.task(u64::from(!(id as u32)) >> KIND_BITS).map_err(|_| Errno::EINVAL)?;
                Ok(cpu_ns)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn clock_gettime(&mut self, id: u64, address: u64) -> Answer {
        let ns = self.clock(id)?;
        self.put(address, &[ns / NS, ns % NS])
    }

    pub(super) fn clock_getres(&mut self, id: u64, address: u64) -> Answer {
        self.clock(id)?;
        if address == 0 { Ok(0) } else { self.put(address, &[0, 1]) }
    }

    /// The time zone is UTC.
    pub(super) fn gettimeofday(&mut self, address: u64, zone: u64) -> Answer {
        let (_, ns) = self.space.pages().now();
        if address != 0 {
            self.put(address, &[ns / NS, ns % NS / 1000])?;
        }
        if zone == 0 { Ok(0) } else { self.put(zone, &[0]) }
    }

    pub(super) fn time(&mut self, address: u64) -> Answer {
        let seconds = self.space.pages().now().1 / NS;
        if address != 0 {
            self.put(address, &[seconds])?;
        }
        Ok(seconds)
    }
}

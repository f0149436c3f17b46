//! Calls about time.

use super::{Answer, Machine, Process};
use crate::errno::Errno;

const NS: u64 = 1_000_000_000;

/// The clocks (`CLOCK_*`) that show the time of day.
const REALTIME: [u64; 3] = [0, 5, 11];
/// Those that show the time since the start.
const MONOTONIC: [u64; 4] = [1, 4, 6, 7];
/// Those that show CPU time.
const CPU: [u64; 2] = [2, 3];
/// Others show the CPU time of a thread or process (`clock_getcpuclockid`): its number, inverted, lies above so many bits, of which
/// the lowest say of which kind the time is.
const KIND_BITS: u32 = 3;
const KIND: u64 = 3;
const KINDS: u64 = 3;

impl<M: Machine> Process<M> {
    /// What a clock shows, in ns.
    fn clock(&mut self, id: u64) -> Result<u64, Errno> {
        let machine = self.space.pages();
        match id {
            _ if REALTIME.contains(&id) => Ok(machine.now().1),
            _ if MONOTONIC.contains(&id) => Ok(machine.now().0),
            _ if CPU.contains(&id) => Ok(machine.cpu_ns()),
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

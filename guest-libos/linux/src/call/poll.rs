//! poll(2), select(2) and their relatives: waiting for any of several files, with a time and a mask of signals.

use super::{Answer, Machine, On, Process, Waits, buffers};
use crate::{
    errno::Errno,
    fs::{Events, limits::MAX_DESCRIPTORS},
    thread::Timespec,
};
use linux_raw_sys::general as abi;

/// Bytes of `struct pollfd`.
const POLLFD_BYTES: u64 = 8;
/// Bytes of the largest set of `select`.
const SET_BYTES: usize = MAX_DESCRIPTORS / 8;

/// What makes a descriptor be in each set of `select`: to be read, to be written, exceptions.
const SETS: [u32; 3] = [
    abi::POLLRDNORM | abi::POLLRDBAND | abi::POLLIN | abi::POLLHUP | abi::POLLERR,
    abi::POLLWRBAND | abi::POLLWRNORM | abi::POLLOUT | abi::POLLERR,
    abi::POLLPRI,
];

/// How long a call waits, as the program says it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timeout {
    /// Milliseconds; negative for ever.
    Ms(u64),
    /// A `struct timespec`, or null for ever.
    Timespec(u64),
    /// A `struct timeval`, or null for ever.
    Timeval(u64),
}

/// A mask of signals for the time of a call: its address, or null, and bytes.
pub(super) type Mask = (u64, u64);

impl<M: Machine> Process<M> {
    /// Starts to wait, or goes on: until when, in ns of the VM's clock.
    pub(super) fn begin_poll(&mut self, timeout: Timeout, mask: Mask) -> Result<Option<u64>, Errno> {
        if let Some(again) = self.again.take() {
            return Ok(again.until_ns);
        }
        let time = match timeout {
            Timeout::Ms(ms) => u64::try_from(ms as i32).ok().map(|ms| ms * 1_000_000),
            Timeout::Timespec(0) | Timeout::Timeval(0) => None,
            Timeout::Timespec(address) => Some(self.timespec(address)?.ns()?),
            Timeout::Timeval(address) => {
                let [seconds, us] = self.get::<2>(address)?.map(u64::cast_signed);
                // More microseconds than a second has are allowed.
                let (more, us) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
                let seconds = seconds.checked_add(more).ok_or(Errno::EINVAL)?;
                Some(Timespec { seconds, nanoseconds: us * 1000 }.ns()?)
            }
        };
        if mask.0 != 0 {
            let set = self.set(mask.0)?;
            self.signals.begin_mask(self.current(), set, mask.1)?;
            self.mask_changed();
        }
        let now_ns = self.now().mono_ns;
        Ok(time.map(|time| now_ns.saturating_add(time)))
    }

    /// Ends with what is ready, or waits. A signal comes before an end without anything.
    pub(super) fn end_poll(&mut self, ready: Result<u64, Errno>, until_ns: Option<u64>, mask: Mask) -> Answer {
        if ready == Ok(0) {
            let now_ns = self.now().mono_ns;
            if until_ns.is_none_or(|until_ns| until_ns > now_ns) || self.signals.interrupts(self.current()) {
                return Err(super::Stop::Waits(Waits { on: On::Files, until_ns, done: 0 }));
            }
        }
        if mask.0 != 0 {
            self.signals.end_mask(self.current());
            self.mask_changed();
        }
        Ok(ready?)
    }

    /// Tells the program what is left of its time, as Linux does: who does not want to know gave a time that cannot be
    /// written.
    fn put_left(&mut self, timeout: Timeout, until_ns: Option<u64>) {
        let left = until_ns.unwrap_or(0).saturating_sub(self.now().mono_ns);
        let time = Timespec::from_ns(left);
        let (address, rest) = match timeout {
            Timeout::Timespec(address) => (address, time.nanoseconds),
            Timeout::Timeval(address) => (address, time.nanoseconds / 1000),
            Timeout::Ms(_) => return,
        };
        if address != 0 {
            let _ = self.put(address, &[time.seconds, rest].map(i64::cast_unsigned));
        }
    }

    pub(super) fn poll(&mut self, address: u64, count: u64, timeout: Timeout, mask: Mask) -> Answer {
        let until_ns = self.begin_poll(timeout, mask)?;
        let ready = self.poll_now(address, count);
        let answer = self.end_poll(ready, until_ns, mask);
        if answer.is_ok() {
            self.put_left(timeout, until_ns);
        }
        answer
    }

    /// How many of the descriptors are ready.
    fn poll_now(&mut self, address: u64, count: u64) -> Result<u64, Errno> {
        if count > self.limits.soft(abi::RLIMIT_NOFILE) {
            return Err(Errno::EINVAL);
        }
        let files = buffers::output(&mut self.space, address, count * POLLFD_BYTES)?;
        let mut ready = 0;
        for file in files.as_chunks_mut::<{ POLLFD_BYTES as usize }>().0 {
            let [a, b, c, d, low, high, ..] = *file;
            let (descriptor, wanted) = (i32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([low, high]));
            let events = match self.files.readiness(descriptor) {
                _ if descriptor < 0 => 0,
                Ok(events) => events.0 & Events(wanted.into()).and(Events::ERR).and(Events::HUP).0,
                Err(_) => abi::POLLNVAL,
            };
            file[6..].copy_from_slice(&(events as u16).to_le_bytes());
            ready += u64::from(events != 0);
        }
        Ok(ready)
    }

    pub(super) fn select(&mut self, count: u64, sets: [u64; 3], timeout: Timeout, mask: Mask) -> Answer {
        let until_ns = self.begin_poll(timeout, mask)?;
        let mut found = [[0; SET_BYTES]; 3];
        let mut ready = self.select_now(count, sets, &mut found);
        let bytes = set_bytes(count);
        if ready.is_ok() {
            let writable = sets.iter().filter(|set| **set != 0).try_for_each(|set| self.output(*set, bytes).map(drop));
            ready = writable.and(ready);
        }
        let answer = self.end_poll(ready, until_ns, mask);
        if answer.is_ok() {
            for (set, found) in sets.into_iter().zip(&found).filter(|(set, _)| *set != 0) {
                self.output(set, bytes)?.copy_from_slice(&found[..bytes as usize]);
            }
            self.put_left(timeout, until_ns);
        }
        answer
    }

    /// How many descriptors were found, in all sets together.
    fn select_now(&self, count: u64, sets: [u64; 3], found: &mut [[u8; SET_BYTES]; 3]) -> Result<u64, Errno> {
        let most = usize::try_from(count as i32).map_err(|_| Errno::EINVAL)?.min(MAX_DESCRIPTORS);
        let mut ready = 0;
        for ((set, found), events) in sets.into_iter().zip(found).zip(SETS).filter(|((set, _), _)| *set != 0) {
            let wanted = buffers::input(&self.space, set, set_bytes(count))?;
            for descriptor in (0..most).filter(|bit| wanted[bit / 8] >> (bit % 8) & 1 != 0) {
                if self.files.readiness(descriptor as i32)?.0 & events != 0 {
                    found[descriptor / 8] |= 1 << (descriptor % 8);
                    ready += 1;
                }
            }
        }
        Ok(ready)
    }

    /// The mask of `pselect6`: its last argument leads to address and bytes.
    pub(super) fn select_mask(&mut self, address: u64) -> Result<Mask, Errno> {
        match address {
            0 => Ok((0, 0)),
            _ => self.get::<2>(address).map(|[set, bytes]| (set, bytes)),
        }
    }
}

/// Bytes of a set of so many descriptors: whole words.
fn set_bytes(count: u64) -> u64 {
    u64::from(count as u32).min(MAX_DESCRIPTORS as u64).div_ceil(64) * 8
}

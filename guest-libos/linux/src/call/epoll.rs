//! epoll(7) and timerfd_create(2).

use super::{
    Answer, Machine, Process, buffers,
    poll::{Mask, Timeout},
};
use crate::{
    errno::Errno,
    fs::{EpollEvent, TimerSpec},
    thread::Timespec,
};
use linux_raw_sys::general as abi;

/// Bytes of `struct epoll_event`, which is packed.
const EVENT_BYTES: usize = 12;
/// Events that one call gives at most; a program that has room for more calls again.
const EVENTS_MOST: usize = 64;

impl<M: Machine> Process<M> {
    /// `epoll_create`: the size says nothing, but must be one.
    pub(super) fn epoll_create(&mut self, size: u64) -> Answer {
        if size as i32 <= 0 { Err(Errno::EINVAL.into()) } else { Ok(self.files.epoll_create1(0)? as u64) }
    }

    pub(super) fn epoll_ctl(&mut self, epoll: u64, operation: u64, descriptor: u64, address: u64) -> Answer {
        let mut event = EpollEvent::default();
        if operation as u32 != abi::EPOLL_CTL_DEL {
            let [e0, e1, e2, e3, data @ ..] = self.array::<EVENT_BYTES>(address)?;
            event = EpollEvent { events: u32::from_le_bytes([e0, e1, e2, e3]), data: u64::from_le_bytes(data) };
        }
        Ok(self.files.epoll_ctl(epoll as i32, operation as u32, descriptor as i32, event).map(|()| 0)?)
    }

    pub(super) fn epoll_wait(&mut self, epoll: u64, address: u64, most: u64, timeout: Timeout, mask: Mask) -> Answer {
        let until_ns = self.begin_poll(timeout, mask)?;
        let ready = self.epoll_now(epoll, address, most);
        self.end_poll(ready, until_ns, mask)
    }

    /// How many events were given.
    fn epoll_now(&mut self, epoll: u64, address: u64, most: u64) -> Result<u64, Errno> {
        let most = usize::try_from(most as i32).ok().filter(|most| *most > 0).ok_or(Errno::EINVAL)?;
        let mut events = [EpollEvent::default(); EVENTS_MOST];
        let most = most.min(EVENTS_MOST);
        let out = buffers::output(&mut self.space, address, (most * EVENT_BYTES) as u64)?;
        let count = self.files.epoll_wait(epoll as i32, &mut events[..most])?;
        for (place, event) in out.as_chunks_mut::<EVENT_BYTES>().0.iter_mut().zip(&events[..count]) {
            place[..4].copy_from_slice(&event.events.to_le_bytes());
            place[4..].copy_from_slice(&event.data.to_le_bytes());
        }
        Ok(count as u64)
    }

    pub(super) fn timerfd_settime(&mut self, descriptor: u64, flags: u64, new: u64, old: u64) -> Answer {
        let [interval, interval_ns, value, value_ns] = self.get::<4>(new)?.map(u64::cast_signed);
        let ns = |seconds, nanoseconds| Timespec { seconds, nanoseconds }.ns();
        let new = TimerSpec { interval_ns: ns(interval, interval_ns)?, value_ns: ns(value, value_ns)? };
        let was = self.files.timerfd_settime(descriptor as i32, flags as u32, new)?;
        // The machine's timer may have to come earlier.
        self.attention = true;
        if old == 0 { Ok(0) } else { self.put_timer(old, was) }
    }

    pub(super) fn timerfd_gettime(&mut self, descriptor: u64, address: u64) -> Answer {
        let now = self.files.timerfd_gettime(descriptor as i32)?;
        self.put_timer(address, now)
    }

    fn put_timer(&mut self, address: u64, spec: TimerSpec) -> Answer {
        let times = [spec.interval_ns, spec.value_ns].map(|ns| Timespec::from_ns(ns).to_bytes());
        self.output(address, 32)?.copy_from_slice(times.as_flattened());
        Ok(0)
    }
}

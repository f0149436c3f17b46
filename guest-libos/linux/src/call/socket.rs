//! Sockets: which call is which, addresses, options. What they send and receive is in `message`.

use super::{Answer, Machine, On, Process, Stop, Waits};
use crate::{errno::Errno, fs, net::Told};
use alloc::vec::Vec;
use linux_raw_sys::{general as nr, net as abi};

/// Most bytes of an address that a program gives (`struct sockaddr_storage`).
const ADDRESS_MOST: u64 = 128;
/// Bytes of `struct timeval`, and of `struct linger`.
const TIMEVAL: u64 = 16;
const LINGER: u64 = 8;
/// Most bytes of an option that is a text.
const TEXT: u64 = 16;
const NS: u64 = 1_000_000_000;
/// What `TCP_CONGESTION` may be.
const CONGESTION: [&[u8]; 2] = [b"cubic", b"reno"];

/// Which direction's time a name means, if it means one: whether that of sending.
const fn timeout(level: u32, name: u32) -> Option<bool> {
    match (level, name) {
        (abi::SOL_SOCKET, abi::SO_RCVTIMEO_OLD | abi::SO_RCVTIMEO_NEW) => Some(false),
        (abi::SOL_SOCKET, abi::SO_SNDTIMEO_OLD | abi::SO_SNDTIMEO_NEW) => Some(true),
        _ => None,
    }
}

impl<M: Machine> Process<M> {
    /// What a call answers that is on sockets, or is not served.
    pub(super) fn socket_call(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, e, f] = arguments;
        let descriptor = a as i32;
        match number {
            nr::__NR_socket => Ok(self.files.socket(a as u32, b as u32, c as u32)? as u64),
            nr::__NR_socketpair => self.socketpair([a, b, c, d]),
            nr::__NR_bind => {
                let address = self.address(b, c)?;
                Ok(self.files.bind(descriptor, &address).map(|()| 0)?)
            }
            nr::__NR_listen => Ok(self.files.listen(descriptor, b as u32).map(|()| 0)?),
            nr::__NR_accept => self.accept([a, b, c, 0]),
            nr::__NR_accept4 => self.accept([a, b, c, d]),
            nr::__NR_connect => self.connect(a, b, c),
            nr::__NR_getsockname | nr::__NR_getpeername => {
                let name = self.files.socket_name(descriptor, number == nr::__NR_getpeername)?;
                self.put_address(b, c, &name)
            }
            nr::__NR_shutdown => Ok(self.files.shutdown(descriptor, b as u32).map(|()| 0)?),
            nr::__NR_setsockopt => self.setsockopt([a, b, c, d, e]),
            nr::__NR_getsockopt => self.getsockopt([a, b, c, d, e]),
            nr::__NR_sendto => self.sendto([a, b, c, d, e, f]),
            nr::__NR_recvfrom => self.recvfrom([a, b, c, d, e, f]),
            nr::__NR_sendmsg => self.sendmsg(a, b, c),
            nr::__NR_recvmsg => self.recvmsg(a, b, c),
            nr::__NR_sendmmsg => self.sendmmsg([a, b, c, d]),
            nr::__NR_recvmmsg => self.recvmmsg([a, b, c, d, e]),
            _ => self.unserved(number),
        }
    }

    /// An address that the program gave.
    pub(super) fn address(&mut self, address: u64, bytes: u64) -> Result<Vec<u8>, Errno> {
        let bytes = u64::try_from(bytes as i32).ok().filter(|bytes| *bytes <= ADDRESS_MOST).ok_or(Errno::EINVAL)?;
        Ok(self.input(address, bytes)?.to_vec())
    }

    /// Tells an address, as much of it as there is room for, and how long it is.
    pub(super) fn put_address(&mut self, address: u64, length: u64, told: &[u8]) -> Answer {
        let room = usize::try_from(i32::from_le_bytes(self.array(length)?)).map_err(|_| Errno::EINVAL)?;
        let count = told.len().min(room);
        self.output(address, count as u64)?.copy_from_slice(&told[..count]);
        self.output(length, 4)?.copy_from_slice(&(told.len() as u32).to_le_bytes());
        Ok(0)
    }

    fn socketpair(&mut self, [domain, kind, protocol, address]: [u64; 4]) -> Answer {
        self.output(address, 8)?;
        let [one, other] = self.files.socketpair(domain as u32, kind as u32, protocol as u32)?;
        self.put(address, &[u64::from(one as u32) | u64::from(other as u32) << 32])
    }

    fn accept(&mut self, [descriptor, address, length, flags]: [u64; 4]) -> Answer {
        self.again = None;
        if address != 0 {
            self.array::<4>(length)?;
        }
        match self.files.accept(descriptor as i32, flags as u32) {
            Ok((accepted, from)) => {
                if address != 0
                    && let Err(error) = self.put_address(address, length, &from)
                {
                    self.files.close(accepted)?;
                    return Err(error);
                }
                Ok(accepted as u64)
            }
            Err(stop) => self.not_moved(stop, 0),
        }
    }

    fn connect(&mut self, descriptor: u64, address: u64, length: u64) -> Answer {
        self.again = None;
        let address = self.address(address, length)?;
        match self.files.connect(descriptor as i32, &address) {
            Ok(()) => Ok(0),
            Err(stop) => self.not_moved(stop, 0),
        }
    }

    fn setsockopt(&mut self, [descriptor, level, name, address, length]: [u64; 5]) -> Answer {
        let (descriptor, level, name) = (descriptor as i32, level as u32, name as u32);
        let length = u64::try_from(length as i32).map_err(|_| Errno::EINVAL)?;
        let least = |bytes: u64| if length < bytes { Err(Errno::EINVAL) } else { Ok(()) };
        if let Some(sends) = timeout(level, name) {
            least(TIMEVAL)?;
            let [seconds, us] = self.get::<2>(address)?.map(u64::cast_signed);
            let us = u64::try_from(us).ok().filter(|us| *us < 1_000_000).ok_or(Errno::EDOM)?;
            // As on Linux: no time is for ever, and a time before now is none.
            let ns = match (seconds, us) {
                (0, 0) => None,
                (seconds, us) => {
                    Some(u64::try_from(seconds).map_or(0, |s| s.saturating_mul(NS).saturating_add(us * 1000)))
                }
            };
            return Ok(self.files.set_socket_timeout(descriptor, sends, ns).map(|()| 0)?);
        }
        match (level, name) {
            (abi::SOL_SOCKET, abi::SO_LINGER) => {
                least(LINGER)?;
                let [word] = self.get(address)?;
                let set = self.files.set_socket_linger(descriptor, word as u32 != 0, (word >> 32) as i32);
                Ok(set.map(|()| 0)?)
            }
            (abi::SOL_SOCKET, abi::SO_BINDTODEVICE) | (abi::SOL_TCP, abi::TCP_CONGESTION) => {
                let text = self.input(address, length.min(TEXT))?;
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let known = match level {
                    abi::SOL_SOCKET if !matches!(text, b"" | b"lo") => Err(Errno::ENODEV),
                    abi::SOL_TCP if !CONGESTION.contains(&text) => Err(Errno::ENOENT),
                    _ => Ok(()),
                };
                self.files.socket_name(descriptor, false)?;
                Ok(known.map(|()| 0)?)
            }
            // Options of IPv4 may be one byte.
            (abi::SOL_IP, _) if (1..4).contains(&length) => {
                let [value] = self.array(address)?;
                Ok(self.files.set_socket_option(descriptor, level, name, value.into()).map(|()| 0)?)
            }
            _ => {
                least(4)?;
                let value = i32::from_le_bytes(self.array(address)?);
                Ok(self.files.set_socket_option(descriptor, level, name, value).map(|()| 0)?)
            }
        }
    }

    fn getsockopt(&mut self, [descriptor, level, name, address, length]: [u64; 5]) -> Answer {
        let (descriptor, level, name) = (descriptor as i32, level as u32, name as u32);
        let room = usize::try_from(i32::from_le_bytes(self.array(length)?)).map_err(|_| Errno::EINVAL)?;
        let told = match timeout(level, name) {
            Some(sends) => {
                let ns = self.files.socket_timeout(descriptor, sends)?.unwrap_or(0);
                [ns / NS, ns % NS / 1000].map(u64::to_le_bytes).concat()
            }
            None => match self.files.socket_option(descriptor, level, name)? {
                Told::Number(number) => number.to_le_bytes().to_vec(),
                Told::Bytes(bytes) => bytes,
            },
        };
        let count = told.len().min(room);
        self.output(address, count as u64)?.copy_from_slice(&told[..count]);
        self.output(length, 4)?.copy_from_slice(&(count as u32).to_le_bytes());
        Ok(0)
    }

    /// The deadline of a call that waits at a socket with a time of its own.
    pub(super) fn with_timeout(&mut self, waits: Waits) -> Waits {
        let On::File(wait) = waits.on else { return waits };
        let Some(ns) = self.files.timeout_ns(wait).filter(|_| waits.until_ns.is_none()) else { return waits };
        Waits { until_ns: Some(self.now().mono_ns.saturating_add(ns)), ..waits }
    }

    /// What a call on files answers whose time is over.
    pub(super) const fn late(number: u32, waits: Waits) -> u64 {
        match (waits.done, number) {
            (0, nr::__NR_connect) => Errno::EINPROGRESS.rax(),
            (0, _) => Errno::EAGAIN.rax(),
            (done, _) => done,
        }
    }

    /// A call on sockets that moved nothing, after `count` messages of earlier rounds.
    pub(super) fn none_more(&mut self, stop: fs::Stop, count: u64, until_ns: Option<u64>) -> Answer {
        match stop {
            fs::Stop::Blocked { wait, .. } => Err(Stop::Waits(Waits { on: On::File(wait), until_ns, done: count })),
            _ if count > 0 => Ok(count),
            stop => self.not_moved(stop, 0),
        }
    }
}

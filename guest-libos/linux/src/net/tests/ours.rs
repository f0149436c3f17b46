//! Our sockets, asked like the host's.
use super::{Gave, NONBLOCK, Op, Place, SLOTS, bytes, host::inet_name, inet, inet6, new, unix};
use crate::{
    errno::Errno,
    fs::{EpollEvent, Fs, Send, Stop},
    net::Told,
};
use linux_raw_sys::{general as abi, net as raw};
use rustix::net::{AddressFamily, SocketType};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The library OS.
pub(super) struct Ours {
    pub(super) fs: Fs,
    held: usize,
    ip: Ipv4Addr,
    v6_port: u16,
    slots: Vec<Option<i32>>,
    epoll: i32,
}

/// What a call that does not wait gave.
fn done<T: std::fmt::Debug>(result: Result<T, Stop>) -> Result<T, Errno> {
    result.map_err(|stop| match stop {
        Stop::Error(error) => error,
        stop => panic!("{stop:?}"),
    })
}

impl Ours {
    pub(super) fn new(ip: Ipv4Addr, v6_port: u16) -> Self {
        let (mut fs, _) = new();
        let held = fs.held();
        let epoll = fs.epoll_create1(0).unwrap();
        Self { fs, held, ip, v6_port, slots: vec![None; SLOTS], epoll }
    }

    fn at(&self, place: Place) -> Vec<u8> {
        match place {
            Place::Name(name) => unix(format!("\0name{name}").as_bytes()),
            Place::Path(name) => unix(format!("/tmp/s{name}").as_bytes()),
            Place::Port(name) => inet(self.ip.octets(), 7000 + u16::from(name)),
            Place::Mapped(name) => inet6(self.ip.to_ipv6_mapped(), 7000 + u16::from(name)),
            Place::V6(name) => inet6(Ipv6Addr::LOCALHOST, self.v6_port + u16::from(name)),
        }
    }

    fn called(told: &[u8]) -> Gave {
        Gave::Name(match (told, told.get(2..)) {
            ([1, 0], _) => "unix".into(),
            ([1, 0, 0, .., last], _) => format!("name {}", char::from(*last)),
            ([1, 0, .., last, 0], _) => format!("path {}", char::from(*last)),
            ([2, 0, p0, p1, a, b, c, d, ..], _) => {
                inet_name(SocketAddr::from(([*a, *b, *c, *d], u16::from_be_bytes([*p0, *p1]))))
            }
            ([10, 0, p0, p1, _, _, _, _, ip @ ..], _) => {
                let ip: [u8; 16] = *ip.first_chunk().unwrap();
                inet_name(SocketAddr::from((ip, u16::from_be_bytes([*p0, *p1]))))
            }
            _ => "none".into(),
        })
    }

    pub(super) fn run(&mut self, operation: Op, number: usize) -> Result<Gave, Errno> {
        let fd = |slot: usize| self.slots[slot].ok_or(Errno::EBADF);
        match operation {
            Op::Socket(slot, family, kind) => {
                let new = self.fs.socket(family.as_raw().into(), kind.as_raw() | NONBLOCK, 0)?;
                if kind == SocketType::STREAM {
                    self.fs.set_socket_option(new, raw::SOL_SOCKET, raw::SO_REUSEADDR, 1)?;
                }
                self.put(slot, new)?;
            }
            Op::Pair(one, other, kind) => {
                let [first, second] =
                    self.fs.socketpair(AddressFamily::UNIX.as_raw().into(), kind.as_raw() | NONBLOCK, 0)?;
                self.put(one, first)?;
                self.put(other, second)?;
            }
            Op::Bind(slot, place) => self.fs.bind(fd(slot)?, &self.at(place))?,
            Op::Listen(slot, backlog) => self.fs.listen(fd(slot)?, backlog as u32)?,
            Op::Connect(slot, place) => done(self.fs.connect(fd(slot)?, &self.at(place)))?,
            Op::Accept(from, to) => {
                let (accepted, address) = done(self.fs.accept(fd(from)?, NONBLOCK))?;
                self.put(to, accepted)?;
                return Ok(Self::called(&address));
            }
            Op::Send(slot, count) => return self.send(fd(slot)?, None, &bytes(count, number)),
            Op::SendTo(slot, place, count) => {
                return self.send(fd(slot)?, Some(&self.at(place)), &bytes(count, number));
            }
            Op::Receive(slot, count, peek) => return self.receive(fd(slot)?, count, peek),
            Op::Shutdown(slot, how) => self.fs.shutdown(fd(slot)?, how)?,
            Op::Close(slot) => {
                let fd = self.slots[slot].take().ok_or(Errno::EBADF)?;
                self.fs.close(fd)?;
            }
            Op::Poll(slot) => {
                let asked = abi::POLLIN | abi::POLLOUT | abi::POLLRDHUP | abi::POLLERR | abi::POLLHUP;
                return Ok(Gave::Events(self.fs.readiness(fd(slot)?)?.0 & asked));
            }
            Op::Error(slot) => {
                let Told::Number(error) = self.fs.socket_option(fd(slot)?, raw::SOL_SOCKET, raw::SO_ERROR)? else {
                    panic!("a number");
                };
                return Ok(Gave::Error(error));
            }
            Op::Name(slot, remote) => return self.fs.socket_name(fd(slot)?, remote).map(|name| Self::called(&name)),
            Op::Waiting(slot) => {
                let told = self.fs.ioctl(fd(slot)?, linux_raw_sys::ioctl::FIONREAD, 0)?;
                return Ok(Gave::Count(told.unwrap() as usize));
            }
            Op::Watch(slot, events) => {
                let event = EpollEvent { events, data: slot as u64 };
                self.fs.epoll_ctl(self.epoll, abi::EPOLL_CTL_ADD, fd(slot)?, event)?;
            }
            Op::Wait => {
                let mut events = [EpollEvent::default(); 16];
                let count = self.fs.epoll_wait(self.epoll, &mut events)?;
                let mut ready: Vec<_> = events[..count].iter().map(|event| (event.data, event.events)).collect();
                ready.sort_unstable();
                return Ok(Gave::Ready(ready));
            }
        }
        Ok(Gave::Nothing)
    }

    fn put(&mut self, slot: usize, fd: i32) -> Result<(), Errno> {
        self.slots[slot].replace(fd).map_or(Ok(()), |old| self.fs.close(old))
    }

    fn send(&mut self, fd: i32, to: Option<&[u8]>, bytes: &[u8]) -> Result<Gave, Errno> {
        let with = Send { to, flags: raw::MSG_NOSIGNAL, ..Send::default() };
        done(self.fs.send(fd, &[bytes], &with)).map(Gave::Count)
    }

    fn receive(&mut self, fd: i32, count: usize, peek: bool) -> Result<Gave, Errno> {
        let kind = self.fs.socket_option(fd, raw::SOL_SOCKET, raw::SO_TYPE)?;
        let stream = kind == Told::Number(SocketType::STREAM.as_raw().cast_signed());
        let flags = if peek { raw::MSG_PEEK } else { 0 } | if stream { 0 } else { raw::MSG_TRUNC };
        let mut buffer = vec![0; count];
        let told = done(self.fs.receive(fd, &mut vec![&mut buffer[..]], flags, 0))?;
        buffer.truncate(told.count);
        Ok(Gave::Bytes(buffer, told.count))
    }

    /// Whether all memory is given back when everything is closed.
    pub(super) fn gives_all_back(&mut self) -> bool {
        self.fs.close_range(3, u32::MAX, 0).unwrap();
        for place in [0, 1, 2] {
            let _ = self.fs.unlinkat(abi::AT_FDCWD, format!("/tmp/s{place}").as_bytes(), 0);
        }
        self.fs.held() == self.held
    }
}

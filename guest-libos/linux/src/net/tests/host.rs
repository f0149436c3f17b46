//! The host's sockets.
use super::{Gave, NONBLOCK, Op, Place, SLOTS, bytes};
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    fd::{AsFd, OwnedFd},
    fs::OFlags,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind,
        connect, getpeername, getsockname, listen, recv, send, sendto, shutdown, socket_with, sockopt,
    },
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// Where the test of one host is.
pub(super) struct Host {
    directory: TempDir,
    /// No two tests have the same: what one left, such as a port that is kept for a while, is in nobody's way.
    ip: Ipv4Addr,
    number: u32,
    slots: Vec<Option<OwnedFd>>,
    epoll: OwnedFd,
}

/// An address of the host.
enum Where {
    Unix(SocketAddrUnix),
    Inet(SocketAddr),
}

impl Host {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (high, low) = ((number / 254) as u8, (number % 254 + 1) as u8);
        Self {
            directory: TempDir::new().unwrap(),
            ip: Ipv4Addr::new(127, std::process::id() as u8, high, low),
            number,
            slots: (0..SLOTS).map(|_| None).collect(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
        }
    }

    /// What both sides call the IPv4 address of this test.
    pub(super) const fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// A port of `::1` that no other test has, nor another process in all likelihood.
    pub(super) fn v6_port(&self, name: u8) -> u16 {
        let case = std::process::id().wrapping_mul(97).wrapping_add(self.number * 8);
        10_000 + (case % 20_000) as u16 + u16::from(name)
    }

    fn at(&self, place: Place) -> Where {
        match place {
            Place::Name(name) => {
                let name = format!("denali-{}-{}-{name}", std::process::id(), self.number);
                Where::Unix(SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap())
            }
            Place::Path(name) => {
                Where::Unix(SocketAddrUnix::new(self.directory.path().join(format!("s{name}"))).unwrap())
            }
            Place::Port(name) => Where::Inet((self.ip, 7000 + u16::from(name)).into()),
            Place::Mapped(name) => Where::Inet((self.ip.to_ipv6_mapped(), 7000 + u16::from(name)).into()),
            Place::V6(name) => Where::Inet((Ipv6Addr::LOCALHOST, self.v6_port(name)).into()),
        }
    }

    fn called(&self, address: Option<SocketAddrAny>) -> Gave {
        let Some(address) = address else { return Gave::Name("none".into()) };
        if let Ok(unix) = SocketAddrUnix::try_from(address.clone()) {
            let last = |bytes: &[u8]| bytes.last().map_or(String::new(), |byte| char::from(*byte).to_string());
            return Gave::Name(match (unix.abstract_name(), unix.path_bytes()) {
                (Some(name @ [_, ..]), _) => format!("name {}", last(name)),
                (_, Some(path)) => format!("path {}", last(path)),
                _ => "unix".into(),
            });
        }
        let inet = SocketAddr::try_from(address).unwrap();
        Gave::Name(inet_name(inet))
    }

    pub(super) fn run(&mut self, operation: Op, number: usize) -> Result<Gave, Errno> {
        // What goes over the loopback arrives a little later on a busy host.
        std::thread::sleep(Duration::from_micros(200));
        let fd = |slot: usize| self.slots[slot].as_ref().map(AsFd::as_fd).ok_or(Errno::BADF);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let sends = SendFlags::NOSIGNAL;
        match operation {
            Op::Socket(slot, family, kind) => {
                let new = socket_with(family, kind, flags, None)?;
                if kind == SocketType::STREAM {
                    // Linux keeps a port for a minute after its connection, but for those who share it.
                    sockopt::set_socket_reuseaddr(&new, true)?;
                    if family != AddressFamily::UNIX {
                        // And what is small is kept until the last is acknowledged.
                        sockopt::set_tcp_nodelay(&new, true)?;
                    }
                }
                self.slots[slot] = Some(new);
            }
            Op::Pair(one, other, kind) => {
                let (first, second) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
                (self.slots[one], self.slots[other]) = (Some(first), Some(second));
            }
            Op::Bind(slot, place) => match self.at(place) {
                Where::Unix(at) => bind(fd(slot)?, &at)?,
                Where::Inet(at) => bind(fd(slot)?, &at)?,
            },
            Op::Listen(slot, backlog) => listen(fd(slot)?, backlog)?,
            Op::Connect(slot, place) => match self.at(place) {
                Where::Unix(at) => connect(fd(slot)?, &at)?,
                Where::Inet(at) => connect(fd(slot)?, &at)?,
            },
            Op::Accept(from, to) => {
                let (accepted, address) = rustix::net::acceptfrom_with(fd(from)?, flags)?;
                self.slots[to] = Some(accepted);
                return Ok(self.called(address));
            }
            Op::Send(slot, count) => return send(fd(slot)?, &bytes(count, number), sends).map(Gave::Count),
            Op::SendTo(slot, place, count) => {
                let bytes = bytes(count, number);
                let sent = match self.at(place) {
                    Where::Unix(at) => sendto(fd(slot)?, &bytes, sends, &at)?,
                    Where::Inet(at) => sendto(fd(slot)?, &bytes, sends, &at)?,
                };
                return Ok(Gave::Count(sent));
            }
            Op::Receive(slot, count, peek) => {
                let mut buffer = vec![0; count];
                let flags = if peek { RecvFlags::PEEK } else { RecvFlags::empty() };
                let kind = sockopt::socket_type(fd(slot)?)?;
                let whole = if kind == SocketType::STREAM { flags } else { flags | RecvFlags::TRUNC };
                let (got, length) = recv(fd(slot)?, &mut buffer[..], whole)?;
                buffer.truncate(got);
                return Ok(Gave::Bytes(buffer, length));
            }
            Op::Shutdown(slot, how) => {
                shutdown(fd(slot)?, [Shutdown::Read, Shutdown::Write, Shutdown::Both][how as usize])?;
            }
            Op::Close(slot) => drop(self.slots[slot].take().ok_or(Errno::BADF)?),
            Op::Poll(slot) => {
                let fd = fd(slot)?;
                let mut asked = [PollFd::new(&fd, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP)];
                poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
                return Ok(Gave::Events(asked[0].revents().bits().into()));
            }
            Op::Error(slot) => {
                let error = sockopt::socket_error(fd(slot)?)?;
                return Ok(Gave::Error(error.err().map_or(0, Errno::raw_os_error)));
            }
            Op::Name(slot, false) => return Ok(self.called(Some(getsockname(fd(slot)?)?))),
            Op::Name(slot, true) => return Ok(self.called(getpeername(fd(slot)?)?)),
            Op::Waiting(slot) => return Ok(Gave::Count(rustix::io::ioctl_fionread(fd(slot)?)? as usize)),
            Op::Watch(slot, events) => {
                let data = epoll::EventData::new_u64(slot as u64);
                epoll::add(&self.epoll, fd(slot)?, data, epoll::EventFlags::from_bits_retain(events))?;
            }
            Op::Wait => return self.wait(),
        }
        Ok(Gave::Nothing)
    }

    fn wait(&self) -> Result<Gave, Errno> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(16);
        let space = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.epoll, space, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let ready = events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            (data.u64(), flags.bits())
        });
        let mut ready: Vec<_> = ready.collect();
        ready.sort_unstable();
        Ok(Gave::Ready(ready))
    }
}

/// An address, but for a port that was not asked for.
pub(super) fn inet_name(at: SocketAddr) -> String {
    let port = match at.port() {
        7000..8000 | 10_000..30_100 => "a known",
        _ => "another",
    };
    let family = if matches!(at.ip(), IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
    format!("{family} {} {port} port", at.ip())
}

const _: () = assert!(OFlags::NONBLOCK.bits() == NONBLOCK);

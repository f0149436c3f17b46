//! Descriptors of sockets, and their names in the tree: socket(2), bind(2), connect(2), accept(2) and their relatives.
use super::{
    Fs, Stop,
    inode::{Kind, Mount},
    walk::{Follow, Node},
    world::Events,
};
use crate::{
    call::USER,
    errno::Errno,
    net::{self, Credentials, Family, Given, Kind as Type, SocketId, Unreachable},
};
use alloc::vec::Vec;
use core::ffi::c_int;
use linux_raw_sys::{general as abi, net as raw};

/// The part of a type that says which it is; the rest are flags.
const TYPE: u32 = 0xf;
/// Their flags, which are those of open(2).
const FLAGS: u32 = abi::O_NONBLOCK | abi::O_CLOEXEC;
/// `IPPROTO_TCP` and `IPPROTO_UDP`.
const TCP: u32 = raw::SOL_TCP;
const UDP: u32 = raw::SOL_UDP;

/// What a socket is to be: its family, type and protocol.
fn wanted(domain: u32, kind: u32, protocol: u32) -> Result<(Family, Type, u32), Errno> {
    let family = match domain {
        raw::AF_UNIX => Family::Unix,
        raw::AF_INET => Family::Inet,
        raw::AF_INET6 => Family::Inet6,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    match (family, kind & TYPE, protocol) {
        (Family::Unix, _, 2..) => Err(Errno::EPROTONOSUPPORT),
        (Family::Unix, raw::SOCK_STREAM, _) => Ok((family, Type::Stream, 0)),
        (Family::Unix, raw::SOCK_DGRAM | raw::SOCK_RAW, _) => Ok((family, Type::Datagram, 0)),
        (Family::Unix, raw::SOCK_SEQPACKET, _) => Ok((family, Type::Packets, 0)),
        (_, raw::SOCK_STREAM, 0 | TCP) => Ok((family, Type::Stream, TCP)),
        (_, raw::SOCK_DGRAM, 0 | UDP) => Ok((family, Type::Datagram, UDP)),
        (_, raw::SOCK_STREAM | raw::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        (_, raw::SOCK_RAW, _) => Err(Errno::EPERM),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

impl Fs {
    /// The socket of a descriptor. `ENOTSOCK` if it is none.
    pub(super) fn socket_of(&self, fd: i32) -> Result<SocketId, Errno> {
        match self.inodes.get(self.description(fd)?.ino)?.kind {
            Kind::Socket(socket) => Ok(socket),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// Who the process is, for the other ends of Unix sockets.
    pub(crate) const fn credentials(&self) -> Credentials {
        Credentials { pid: self.pid, uid: USER as u32, gid: USER as u32 }
    }

    /// Closes sockets that nothing leads to any more, and what was on its way in them.
    pub(super) fn close_sockets(&mut self) {
        loop {
            if let Some(socket) = self.inodes.closed.pop() {
                self.net.close(socket, &mut self.inodes.budget);
            } else if let Some(description) = self.net.dropped.pop() {
                self.let_go(description);
            } else {
                return;
            }
        }
    }

    /// Gives a socket a descriptor, or closes it.
    fn install_socket(&mut self, socket: SocketId, flags: u32) -> Result<i32, Errno> {
        let status = abi::O_RDWR | flags & abi::O_NONBLOCK;
        let close_on_exec = flags & abi::O_CLOEXEC != 0;
        let installed = self.install_new(Kind::Socket(socket), 0o777, Mount::Nameless, status, close_on_exec);
        if installed.is_err() {
            self.net.close(socket, &mut self.inodes.budget);
        }
        installed
    }

    /// socket(2).
    pub(crate) fn socket(&mut self, domain: u32, kind: u32, protocol: u32) -> Result<i32, Errno> {
        if kind & !(TYPE | FLAGS) != 0 {
            return Err(Errno::EINVAL);
        }
        let (family, of_type, protocol) = wanted(domain, kind, protocol)?;
        self.lowest_free(0)?;
        let socket = self.net.create(family, of_type, protocol, &mut self.inodes.budget)?;
        self.install_socket(socket, kind)
    }

    /// socketpair(2): Unix sockets alone.
    pub(crate) fn socketpair(&mut self, domain: u32, kind: u32, protocol: u32) -> Result<[i32; 2], Errno> {
        if kind & !(TYPE | FLAGS) != 0 {
            return Err(Errno::EINVAL);
        }
        if wanted(domain, kind, protocol)?.0 != Family::Unix {
            return Err(Errno::EOPNOTSUPP);
        }
        let one = self.socket(domain, kind, protocol)?;
        let other = self.socket(domain, kind, protocol);
        let Ok(other) = other else {
            self.close(one)?;
            return other.map(|_| [one; 2]);
        };
        let pair = [self.socket_of(one)?, self.socket_of(other)?];
        self.net.join(pair, self.credentials())?;
        Ok([one, other])
    }

    /// bind(2).
    pub(crate) fn bind(&mut self, fd: i32, address: &[u8]) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        let given = Given::parse(address)?;
        match (self.net.get(socket)?.family, given) {
            (Family::Unix, Given::Unix(name)) if name.first().is_some_and(|byte| *byte != 0) => {
                self.bind_path(socket, &name)
            }
            (Family::Unix, Given::Unix(name)) => self.net.bind_unix(socket, &name),
            (Family::Unix, _) => Err(Errno::EINVAL),
            (_, given) => self.net.bind_inet(socket, &given),
        }
    }

    fn bind_path(&mut self, socket: SocketId, path: &[u8]) -> Result<(), Errno> {
        let taken = |error| if error == Errno::EEXIST { Errno::EADDRINUSE } else { error };
        let place = self.vacant(abi::AT_FDCWD, path, false).map_err(taken)?;
        if self.net.get(socket)?.local.is_some() {
            return Err(Errno::EINVAL);
        }
        self.make(&place, Kind::Bound(socket), 0o777 & !self.umask)?;
        self.net.bind_unix(socket, path)
    }

    /// Which Unix socket is meant by a path or an abstract name.
    pub(super) fn unix_socket(&self, kind: Type, given: &Given) -> Result<SocketId, Errno> {
        match given {
            Given::Unix(name) if name.is_empty() => Err(Errno::EINVAL),
            Given::Unix(name) if name.first() == Some(&0) => self.net.named(kind, name).ok_or(Errno::ECONNREFUSED),
            Given::Unix(path) => match self.node(abi::AT_FDCWD, path, Follow::Always)?.0 {
                Node::Inode(ino) => match self.inodes.get(ino)?.kind {
                    Kind::Bound(socket) => Ok(socket),
                    _ => Err(Errno::ECONNREFUSED),
                },
                Node::Descriptor(_) => Err(Errno::ECONNREFUSED),
            },
            _ => Err(Errno::EINVAL),
        }
    }

    /// listen(2).
    pub(crate) fn listen(&mut self, fd: i32, backlog: u32) -> Result<(), Errno> {
        let (socket, credentials) = (self.socket_of(fd)?, self.credentials());
        self.touch();
        self.net.listen(socket, backlog, credentials)
    }

    /// connect(2).
    pub(crate) fn connect(&mut self, fd: i32, address: &[u8]) -> Result<(), Stop> {
        let socket = self.socket_of(fd)?;
        let given = Given::parse(address)?;
        let (family, kind) = (self.net.get(socket)?.family, self.net.get(socket)?.kind);
        let done = match (family, kind, given) {
            (Family::Unix, Type::Datagram, Given::Unspecified) => {
                self.net.connect_messages(socket, None, &mut self.inodes.budget).map(|()| true)
            }
            (Family::Unix, Type::Datagram, given) => {
                let to = self.unix_socket(kind, &given)?;
                self.net.connect_messages(socket, Some(to), &mut self.inodes.budget).map(|()| true)
            }
            (Family::Unix, _, given) => {
                let (to, credentials) = (self.unix_socket(kind, &given)?, self.credentials());
                self.net.connect_unix(socket, to, credentials, &mut self.inodes.budget)
            }
            (_, Type::Stream, Given::Unspecified) => {
                self.net.disconnect(socket, &mut self.inodes.budget)?;
                Ok(true)
            }
            (_, Type::Stream, given) => return self.connect_tcp(fd, socket, &given),
            (_, _, given) => self.net.connect_datagrams(socket, &given).map(|()| true),
        };
        self.close_sockets();
        if done? {
            self.touch();
            return Ok(());
        }
        Err(self.blocked(fd, 0, Events::OUT))
    }

    fn connect_tcp(&mut self, fd: i32, socket: SocketId, given: &Given) -> Result<(), Stop> {
        let nonblock = self.description(fd)?.flags & abi::O_NONBLOCK != 0;
        let pending = if self.net.is_connecting(socket)? {
            Errno::EALREADY
        } else {
            self.net.start_connect(socket, given, &mut self.inodes.budget)?;
            self.touch();
            if nonblock {
                return Err(Errno::EINPROGRESS.into());
            }
            Errno::EINPROGRESS
        };
        match self.net.finish_connect(socket, &mut self.inodes.budget)? {
            true => Ok(()),
            false if nonblock => Err(pending.into()),
            false => Err(self.blocked(fd, 0, Events::OUT)),
        }
    }

    /// accept4(2): a descriptor, and where the other end is.
    pub(crate) fn accept(&mut self, fd: i32, flags: u32) -> Result<(i32, Vec<u8>), Stop> {
        let socket = self.socket_of(fd)?;
        if flags & !FLAGS != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.lowest_free(0)?;
        let nonblock = self.description(fd)?.flags & abi::O_NONBLOCK != 0;
        let Some(child) = self.net.accept(socket, nonblock, &mut self.inodes.budget)? else {
            return Err(self.blocked(fd, 0, Events::IN));
        };
        self.touch();
        let from = self.net.came_from(child)?;
        Ok((self.install_socket(child, flags)?, from))
    }

    /// shutdown(2).
    pub(crate) fn shutdown(&mut self, fd: i32, how: u32) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        let result = self.net.shutdown(socket, how, &mut self.inodes.budget);
        self.close_sockets();
        self.touch();
        result
    }

    /// getsockname(2), or getpeername(2) of the `remote` end.
    pub(crate) fn socket_name(&self, fd: i32, remote: bool) -> Result<Vec<u8>, Errno> {
        let socket = self.socket_of(fd)?;
        if remote { self.net.remote(socket) } else { self.net.local(socket) }
    }

    /// getsockopt(2), but for times.
    pub(crate) fn socket_option(&mut self, fd: i32, level: u32, name: u32) -> Result<net::Told, Errno> {
        let socket = self.socket_of(fd)?;
        self.net.option(socket, level, name)
    }

    /// setsockopt(2) with a number.
    pub(crate) fn set_socket_option(&mut self, fd: i32, level: u32, name: u32, value: c_int) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        self.touch();
        self.net.set_option(socket, level, name, value)
    }

    /// `SO_LINGER`: whether it is on, and seconds.
    pub(crate) fn set_socket_linger(&mut self, fd: i32, on: bool, seconds: c_int) -> Result<(), Errno> {
        self.net.set_linger(self.socket_of(fd)?, on, seconds)
    }

    /// `SO_RCVTIMEO`, or `SO_SNDTIMEO` where it `sends`, in ns; `None` for ever.
    pub(crate) fn socket_timeout(&self, fd: i32, sends: bool) -> Result<Option<u64>, Errno> {
        Ok(self.net.timeout_ns(self.socket_of(fd)?, sends))
    }

    /// Sets it.
    pub(crate) fn set_socket_timeout(&mut self, fd: i32, sends: bool, ns: Option<u64>) -> Result<(), Errno> {
        self.net.set_timeout(self.socket_of(fd)?, sends, ns)
    }

    /// Destinations outside of the VM that sockets were to reach.
    #[must_use]
    pub const fn unreachable(&self) -> Unreachable {
        self.net.unreachable
    }
}

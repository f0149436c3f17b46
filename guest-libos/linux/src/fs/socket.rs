//! Descriptors of sockets: socket(2), socketpair(2), shutdown(2), and what sockets are told and tell.
use super::{
    Fs,
    inode::{Kind, Mount},
};
use crate::{
    call::USER,
    errno::Errno,
    net::{self, Credentials, Family, Kind as Type, SocketId, Unreachable},
};
use alloc::vec::Vec;
use core::ffi::c_int;
use linux_raw_sys::{general as abi, net as raw};

/// The part of a type that says which it is; the rest are flags.
const TYPE: u32 = 0xf;
/// Their flags, which are those of open(2).
pub(super) const FLAGS: u32 = abi::O_NONBLOCK | abi::O_CLOEXEC;
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
        Credentials { pid: self.pid, uid: USER, gid: USER }
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
    pub(super) fn install_socket(&mut self, socket: SocketId, flags: u32) -> Result<i32, Errno> {
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

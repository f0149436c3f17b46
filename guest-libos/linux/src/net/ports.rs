//! Binding, and who is where: ports of TCP and UDP, and abstract names.
use super::{
    Address, Family, Given, Kind, Net, SocketId,
    address::is_here,
    limits::EPHEMERAL,
    socket::{Socket, State},
};
use crate::errno::Errno;
use alloc::{boxed::Box, format, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use linux_raw_sys::net as abi;

/// Names that the kernel gives have five hexadecimal digits.
const NAMES: u32 = 1 << 20;

impl Socket {
    /// Where it is bound.
    pub(super) const fn place(&self) -> Option<SocketAddr> {
        match self.local {
            Some(Address::Inet(at)) => Some(at),
            _ => None,
        }
    }

    /// Whether it has given up a port that it did not ask for, with its connection.
    fn is_gone(&self) -> bool {
        self.state == State::Closed && self.chosen
    }

    /// Whether what is sent to an address comes here, and how well it is meant: 1 for any address, 2 for this one.
    fn takes(&self, ip: IpAddr) -> u32 {
        match self.place().map(|at| at.ip()) {
            Some(own) if own == ip => 2,
            Some(IpAddr::V4(own)) => u32::from(own.is_unspecified() && ip.is_ipv4()),
            Some(IpAddr::V6(own)) => u32::from(own.is_unspecified() && (ip.is_ipv6() || !self.is_v6_only())),
            None => 0,
        }
    }

    /// Whether two that are bound to the same port have an address in common.
    fn overlaps(&self, ip: IpAddr, v6_only: bool) -> bool {
        let Some(own) = self.place().map(|at| at.ip()) else { return false };
        let covers = |wide: IpAddr, v6_only: bool, ip: IpAddr| match wide {
            IpAddr::V4(wide) => wide.is_unspecified() && ip.is_ipv4(),
            IpAddr::V6(wide) => wide.is_unspecified() && (ip.is_ipv6() || !v6_only),
        };
        own == ip || covers(own, self.is_v6_only(), ip) || covers(ip, v6_only, own)
    }
}

impl Net {
    /// bind(2) to an address of IPv4 or IPv6; port 0 is any that is free.
    pub(crate) fn bind_inet(&mut self, id: SocketId, given: &Given) -> Result<(), Errno> {
        let socket = self.get(id)?;
        let at = match (given, socket.family) {
            (Given::V4(at), Family::Inet) | (Given::V6(at), Family::Inet6) => *at,
            (Given::V4(_) | Given::Unix(_), Family::Inet6) => return Err(Errno::EINVAL),
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        if at.is_ipv4() && socket.is_v6_only() {
            return Err(Errno::EINVAL);
        }
        if !is_here(at.ip()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if !socket.is_gone() && (socket.local.is_some() || socket.state != State::New) {
            return Err(Errno::EINVAL);
        }
        self.settle(id, at.ip(), at.port())?;
        if at.is_ipv6() && !at.ip().is_unspecified() {
            // As on Linux: it can't be reached by IPv4 any more, nor reach that.
            self.get_mut(id)?.options.set_v6_only();
        }
        Ok(())
    }

    /// Binds a socket that is not, to a port that is free.
    pub(super) fn bind_anywhere(&mut self, id: SocketId) -> Result<(), Errno> {
        let socket = self.get(id)?;
        let any =
            if socket.family == Family::Inet { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if socket.local.is_some() {
            return Ok(());
        }
        self.settle(id, any, 0)?;
        self.get_mut(id)?.chosen = true;
        Ok(())
    }

    /// Gives up an address that was chosen for a connection.
    pub(super) fn leave(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Some(at) = socket.place() else { return };
        if let Some(any) = socket.any.take() {
            socket.local = Some(Address::Inet(SocketAddr::new(any, at.port())));
        }
        if socket.chosen {
            (socket.local, socket.chosen) = (None, false);
            let kind = socket.kind;
            self.unbind(id, kind, Some(&Address::Inet(at)));
        }
    }

    fn settle(&mut self, id: SocketId, ip: IpAddr, port: u16) -> Result<(), Errno> {
        let port = match port {
            0 => self.free_port(id, ip)?,
            _ if self.conflicts(id, ip, port)? => return Err(Errno::EADDRINUSE),
            _ => port,
        };
        self.take_port(id, SocketAddr::new(ip, port))
    }

    pub(super) fn take_port(&mut self, id: SocketId, at: SocketAddr) -> Result<(), Errno> {
        let socket = self.get_mut(id)?;
        let kind = socket.kind;
        socket.chosen = false;
        if let Some(before) = socket.local.replace(Address::Inet(at)) {
            self.unbind(id, kind, Some(&before));
        }
        let key = (kind, at.port());
        self.ports.entry(key).or_default().push(id);
        Ok(())
    }

    /// Each port in its turn, so that one that was given up is not given again at once. None that could be shared.
    fn free_port(&mut self, id: SocketId, ip: IpAddr) -> Result<u16, Errno> {
        let (kind, v6_only) = (self.get(id)?.kind, self.get(id)?.is_v6_only());
        for _ in EPHEMERAL {
            let port = EPHEMERAL.start + (self.given % EPHEMERAL.len() as u32) as u16;
            self.given = self.given.wrapping_add(1);
            if !self.on_port(kind, port).any(|(_, other)| other.overlaps(ip, v6_only)) {
                return Ok(port);
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Whether someone else has the port, and does not share it.
    pub(super) fn conflicts(&self, id: SocketId, ip: IpAddr, port: u16) -> Result<bool, Errno> {
        let socket = self.get(id)?;
        let v6_only = socket.is_v6_only();
        let shares = |other: &Socket| {
            let both = |option| socket.is_on(option) && other.is_on(option);
            let listens = matches!(other.state, State::Listening(_));
            both(abi::SO_REUSEPORT) || both(abi::SO_REUSEADDR) && !listens
        };
        let mut others = self.on_port(socket.kind, port).filter(|(other, _)| *other != id);
        Ok(others.any(|(_, other)| other.overlaps(ip, v6_only) && !shares(other)))
    }

    pub(super) fn on_port(&self, kind: Kind, port: u16) -> impl Iterator<Item = (SocketId, &Socket)> {
        let bound = self.ports.get(&(kind, port)).into_iter().flatten();
        bound.filter_map(|id| Some((*id, self.sockets.get(id).filter(|socket| !socket.is_gone())?)))
    }

    /// Who listens at an address.
    pub(super) fn listener_at(&self, to: SocketAddr) -> Option<SocketId> {
        let listening = self.on_port(Kind::Stream, to.port()).filter(|(_, s)| matches!(s.state, State::Listening(_)));
        let best = listening.map(|(id, socket)| (socket.takes(to.ip()), id)).max()?;
        (best.0 > 0).then_some(best.1)
    }

    /// Who gets a datagram: who is connected with its sender before who is not, this address before any.
    pub(super) fn receiver_at(&self, to: SocketAddr, from: SocketAddr) -> Option<SocketId> {
        let bound = self.on_port(Kind::Datagram, to.port());
        let fits = bound.filter_map(|(id, socket)| {
            let connected = match &socket.remote {
                Some(Address::Inet(at)) if *at == from => 4,
                Some(_) => return None,
                None => 0,
            };
            let takes = socket.takes(to.ip());
            (takes > 0).then_some((takes + connected, id))
        });
        fits.max().map(|(_, id)| id)
    }

    /// bind(2) to a path, whose inode the caller makes, or to an abstract name; an empty one is any that is free.
    pub(crate) fn bind_unix(&mut self, id: SocketId, name: &[u8]) -> Result<(), Errno> {
        let socket = self.get(id)?;
        if socket.local.is_some() {
            return if name.is_empty() { Ok(()) } else { Err(Errno::EINVAL) };
        }
        let kind = socket.kind;
        let name: Box<[u8]> = if name.is_empty() { self.free_name(kind)? } else { name.into() };
        if name.first() == Some(&0) {
            if self.names.contains_key(&(kind, name.clone())) {
                return Err(Errno::EADDRINUSE);
            }
            self.names.insert((kind, name.clone()), id);
        }
        let local = Some(Address::Unix(name));
        for other in self.sockets.values_mut().filter(|other| other.peer == Some(id)) {
            other.remote.clone_from(&local);
        }
        self.get_mut(id)?.local = local;
        Ok(())
    }

    fn free_name(&mut self, kind: Kind) -> Result<Box<[u8]>, Errno> {
        for _ in 0..NAMES {
            self.given = self.given.wrapping_add(1);
            let name: Vec<u8> = format!("\0{:05x}", self.given % NAMES).into_bytes();
            if !self.names.contains_key(&(kind, name.clone().into())) {
                return Ok(name.into());
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Who has an abstract name.
    pub(crate) fn named(&self, kind: Kind, name: &[u8]) -> Option<SocketId> {
        self.names.get(&(kind, name.into())).copied()
    }

    /// Gives up where a socket was bound.
    pub(super) fn unbind(&mut self, id: SocketId, kind: Kind, local: Option<&Address>) {
        match local {
            Some(Address::Inet(at)) => {
                let key = (kind, at.port());
                if let Some(bound) = self.ports.get_mut(&key) {
                    bound.retain(|other| *other != id);
                    if bound.is_empty() {
                        self.ports.remove(&key);
                    }
                }
            }
            // Accepted connections are told the name too, and do not have it.
            Some(Address::Unix(name)) if self.named(kind, name) == Some(id) => {
                self.names.remove(&(kind, name.clone()));
            }
            _ => {}
        }
    }
}

//! Connecting: connect(2) of TCP and of Unix sockets with connections.
use super::{
    Address, Credentials, Family, Given, Kind, Net, SocketId,
    address::{is_here, route},
    socket::{Shut, State},
};
use crate::{errno::Errno, fs::Budget};
use core::net::{IpAddr, SocketAddr};

impl Net {
    /// Where a program wants to go. Elsewhere than in this VM is `ENETUNREACH`, and is counted.
    pub(super) fn destination(&mut self, id: SocketId, given: &Given) -> Result<SocketAddr, Errno> {
        let socket = self.get(id)?;
        let at = match (given, socket.family, socket.kind) {
            (Given::V4(at), Family::Inet, _) | (Given::V6(at), Family::Inet6, _) => *at,
            (Given::V4(at), Family::Inet6, Kind::Datagram) if !socket.is_v6_only() => *at,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        // IPv4 is reached from IPv4 alone.
        if at.is_ipv4() && socket.is_v6_only() {
            return Err(Errno::ENETUNREACH);
        }
        if at.is_ipv6() && socket.place().is_some_and(|own| own.is_ipv4()) {
            return Err(Errno::EAFNOSUPPORT);
        }
        if !is_here(at.ip()) {
            self.unreachable.count = self.unreachable.count.saturating_add(1);
            self.unreachable.last = Some(at);
            return Err(Errno::ENETUNREACH);
        }
        Ok(at)
    }

    /// The address that packets of a socket have, if it is bound to any.
    pub(super) fn leave_from(&mut self, id: SocketId, from: IpAddr) -> Result<(), Errno> {
        self.bind_anywhere(id)?;
        let socket = self.get_mut(id)?;
        let at = socket.place().ok_or(Errno::EADDRNOTAVAIL)?;
        if at.ip().is_unspecified() {
            socket.any = Some(at.ip());
        }
        if socket.any.is_some() {
            socket.local = Some(Address::Inet(SocketAddr::new(from, at.port())));
        }
        Ok(())
    }

    /// Whether connect(2) of a TCP socket has started, and is to be told its end.
    pub(crate) fn is_connecting(&self, id: SocketId) -> Result<bool, Errno> {
        Ok(self.get(id)?.connecting)
    }

    /// Starts connect(2) of a TCP socket; [`Self::finish_connect`] tells how it went.
    pub(crate) fn start_connect(&mut self, id: SocketId, given: &Given, budget: &mut Budget) -> Result<(), Errno> {
        let socket = self.get(id)?;
        match (&socket.state, socket.peer) {
            (State::New, _) => {}
            // It was shut before it was told how connecting went.
            (State::Closed, None) => return Err(Errno::EINVAL),
            _ => return Err(Errno::EISCONN),
        }
        let to = self.destination(id, given)?;
        let (ip, from) = route(to.ip());
        let to = SocketAddr::new(ip, to.port());
        self.leave_from(id, from)?;
        if self.is_connected(id, to)? {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let listener = self.listener_at(to);
        let socket = self.get_mut(id)?;
        socket.remote = Some(Address::Inet(to));
        socket.connecting = true;
        socket.state = State::Connecting;
        match listener {
            Some(listener) => self.knock(id, listener, budget),
            None if self.get(id)?.place() == Some(to) => self.meet_itself(id)?,
            None => self.refuse(id),
        }
        Ok(())
    }

    /// Whether another socket that shares the port is connected to the same address.
    fn is_connected(&self, id: SocketId, to: SocketAddr) -> Result<bool, Errno> {
        let socket = self.get(id)?;
        let Some(at) = socket.place() else { return Ok(false) };
        let mut others = self.on_port(Kind::Stream, at.port()).filter(|(other, _)| *other != id);
        Ok(others.any(|(_, other)| other.local == socket.local && other.remote == Some(Address::Inet(to))))
    }

    /// As on Linux, a TCP socket may be both ends of its connection.
    fn meet_itself(&mut self, id: SocketId) -> Result<(), Errno> {
        let socket = self.get_mut(id)?;
        (socket.peer, socket.state) = (Some(id), State::Connected);
        socket.changed();
        Ok(())
    }

    /// A TCP connection that nobody wants.
    pub(super) fn refuse(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.state == State::Connecting) {
            socket.error = Some(Errno::ECONNREFUSED);
            socket.close_both();
        }
    }

    /// How connect(2) went: whether it is done. An error is told once, and the socket is as new then.
    pub(crate) fn finish_connect(&mut self, id: SocketId, budget: &mut Budget) -> Result<bool, Errno> {
        let socket = self.get_mut(id)?;
        match socket.state {
            State::Connecting => Ok(false),
            State::Closed => {
                (socket.state, socket.shut, socket.remote) = (State::New, Shut::default(), None);
                (socket.connecting, socket.ended) = (false, false);
                socket.changed();
                socket.queue.clear(budget);
                let error = socket.error.take().unwrap_or(Errno::ECONNABORTED);
                self.leave(id);
                Err(error)
            }
            _ => {
                socket.connecting = false;
                Ok(true)
            }
        }
    }

    /// connect(2) of a Unix stream or packets. Whether it is done; otherwise there is no room.
    pub(crate) fn connect_unix(
        &mut self,
        id: SocketId,
        to: SocketId,
        credentials: Credentials,
        budget: &mut Budget,
    ) -> Result<bool, Errno> {
        let kind = self.get(id)?.kind;
        let listener = self.sockets.get(&to).ok_or(Errno::ECONNREFUSED)?;
        if listener.kind != kind {
            return Err(Errno::EPROTOTYPE);
        }
        let State::Listening(queue) = &listener.state else { return Err(Errno::ECONNREFUSED) };
        let (shut, full) = (listener.shut.read, queue.is_full());
        if shut {
            return Err(Errno::ECONNREFUSED);
        }
        if full {
            return Ok(false);
        }
        match self.get(id)?.state {
            State::New => {}
            State::Listening(_) => return Err(Errno::EINVAL),
            _ => return Err(Errno::EISCONN),
        }
        let child = self.establish(id, to, budget)?;
        self.get_mut(child)?.peer_credentials = Some(credentials);
        Ok(true)
    }
}

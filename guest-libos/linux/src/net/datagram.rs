//! Datagrams: connecting without a connection, and sending to an address.
use super::{
    Address, Control, Family, Given, Kind, Message, Net, SocketId, To, address::route, limits::MAX_DATAGRAM,
    queue::length, socket::State,
};
use crate::{errno::Errno, fs::Budget};
use core::net::SocketAddr;
use linux_raw_sys::net as abi;

impl Net {
    /// connect(2) of UDP: where datagrams go, and who may send some.
    pub(crate) fn connect_datagrams(&mut self, id: SocketId, given: &Given) -> Result<(), Errno> {
        if *given == Given::Unspecified {
            let socket = self.get_mut(id)?;
            (socket.remote, socket.state) = (None, State::New);
            self.leave(id);
            return Ok(());
        }
        self.bind_anywhere(id)?;
        let to = self.destination(id, given)?;
        let (ip, from) = route(to.ip());
        self.leave_from(id, from)?;
        let socket = self.get_mut(id)?;
        socket.remote = Some(Address::Inet(SocketAddr::new(ip, to.port())));
        socket.state = State::Connected;
        Ok(())
    }

    /// connect(2) of Unix datagrams: where they go. `None` disconnects.
    pub(crate) fn connect_messages(
        &mut self,
        id: SocketId,
        to: Option<SocketId>,
        budget: &mut Budget,
    ) -> Result<(), Errno> {
        let remote = match to {
            Some(to) => self.may_send(id, to)?,
            None => None,
        };
        let socket = self.get_mut(id)?;
        let before = core::mem::replace(&mut socket.peer, to).filter(|before| Some(*before) != to);
        (socket.remote, socket.state) = (remote, if to.is_some() { State::Connected } else { State::New });
        // Those who sent before are not heard any more.
        if before.is_some() && !socket.queue.is_empty() {
            self.forget(id, budget);
            if let Some(other) = before.and_then(|before| self.sockets.get_mut(&before))
                && other.peer == Some(id)
            {
                other.error = Some(Errno::ECONNRESET);
                other.changed();
            }
        }
        Ok(())
    }

    /// Whether a Unix socket takes datagrams of another: where it is then.
    pub(super) fn may_send(&self, id: SocketId, to: SocketId) -> Result<Option<Address>, Errno> {
        let target = self.sockets.get(&to).ok_or(Errno::ECONNREFUSED)?;
        if target.kind != Kind::Datagram || target.family != Family::Unix {
            return Err(Errno::EPROTOTYPE);
        }
        match target.peer {
            Some(peer) if peer != id => Err(Errno::EPERM),
            _ => Ok(target.local.clone()),
        }
    }

    /// Whether a Unix socket may send datagrams at all.
    pub(crate) fn can_send(&mut self, id: SocketId) -> Result<(), Errno> {
        let socket = self.get_mut(id)?;
        socket.take_error()?;
        if socket.shut.write { Err(Errno::EPIPE) } else { Ok(()) }
    }

    /// As on Linux, what a Unix socket sends in vain had its place in the buffer, and gave it back.
    pub(crate) fn not_sent(&mut self, id: SocketId) {
        if let Ok(socket) = self.get_mut(id) {
            socket.edges.write += 1;
        }
    }

    /// Sends a datagram over a Unix socket: how many bytes were taken, or `None` where there is no room now.
    pub(crate) fn send_unix(
        &mut self,
        id: SocketId,
        to: To,
        message: Message<'_>,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Errno> {
        let socket = self.get_mut(id)?;
        let from = socket.local.clone();
        let to = match (to, socket.peer) {
            (To::Other(to), _) => to,
            (To::Peer, Some(peer)) if !self.sockets.contains_key(&peer) => {
                self.connect_messages(id, None, budget)?;
                return Err(Errno::ECONNREFUSED);
            }
            (To::Peer, Some(peer)) => peer,
            (To::Peer, None) => return Err(Errno::ENOTCONN),
        };
        self.may_send(id, to)?;
        if self.get(to)?.shut.read {
            return Err(Errno::EPIPE);
        }
        self.push_message(id, to, message, from, budget)
    }

    /// Sends a datagram over UDP, to an address or to where the socket is connected: how many bytes. One that nobody takes
    /// is lost.
    pub(crate) fn send_udp(
        &mut self,
        id: SocketId,
        to: Option<&Given>,
        message: &Message<'_>,
        budget: &mut Budget,
    ) -> Result<usize, Errno> {
        self.bind_anywhere(id)?;
        let total = length(message.parts);
        if total > MAX_DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        let to = match to.filter(|to| **to != Given::Unspecified) {
            Some(given) => Some(self.destination(id, given)?),
            None => None,
        };
        let socket = self.get_mut(id)?;
        let connected = match &socket.remote {
            Some(Address::Inet(at)) => Some(*at),
            _ => None,
        };
        let to = to.or(connected).ok_or(Errno::EDESTADDRREQ)?;
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        socket.take_error()?;
        if socket.shut.write {
            return Err(Errno::EPIPE);
        }
        let (ip, source) = route(to.ip());
        let own = self.get(id)?.place().ok_or(Errno::EADDRNOTAVAIL)?;
        let fits = !own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4();
        let from = SocketAddr::new(if fits { own.ip() } else { source }, own.port());
        let to = SocketAddr::new(ip, to.port());
        // It has left at once.
        self.get_mut(id)?.edges.write += 1;
        match self.receiver_at(to, from) {
            Some(receiver) => self.deliver(receiver, from, message, budget),
            None => {
                // Who is connected there is told that it is in vain.
                if let Some(socket) = self.sockets.get_mut(&id).filter(|_| connected == Some(to)) {
                    socket.error = Some(Errno::ECONNREFUSED);
                    socket.changed();
                }
            }
        }
        Ok(total)
    }

    /// Puts a datagram into a queue, if it has room.
    fn deliver(&mut self, to: SocketId, from: SocketAddr, message: &Message<'_>, budget: &mut Budget) {
        let Ok(socket) = self.get_mut(to) else { return };
        if socket.queue.held() > socket.options.receive {
            return;
        }
        let from = Some(Address::Inet(from));
        if socket.queue.push_message(message.parts, (from, None), Control::default(), budget).is_ok() {
            socket.edges.read += 1;
        }
    }

    /// Whether who receives of a socket wants to know who sent it.
    pub(crate) fn passes_credentials(&self, id: SocketId, to: To) -> bool {
        let to = match to {
            To::Other(to) => Some(to),
            To::Peer => self.get(id).ok().and_then(|socket| socket.peer),
        };
        let on = |id: SocketId| self.get(id).is_ok_and(|socket| socket.is_on(abi::SO_PASSCRED));
        on(id) || to.is_some_and(on)
    }
}

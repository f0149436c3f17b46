//! Connections: listen(2), connect(2), accept(2). Both ends are made at once, and the listening one is accepted later.
use super::{
    Address, Credentials, Family, Given, Kind, Net, SocketId,
    address::{is_here, route},
    limits::MAX_BACKLOG,
    socket::{Listener, Shut, State},
};
use crate::{errno::Errno, fs::Budget};
use core::net::{IpAddr, SocketAddr};

impl Net {
    /// listen(2).
    pub(crate) fn listen(&mut self, id: SocketId, backlog: u32, credentials: Credentials) -> Result<(), Errno> {
        let socket = self.get(id)?;
        if socket.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        match (&socket.state, socket.family) {
            (State::New, Family::Unix) if socket.local.is_none() => return Err(Errno::EINVAL),
            (State::New, Family::Inet | Family::Inet6) => {
                self.bind_anywhere(id)?;
                // Those that share the port may listen now.
                let at = self.get(id)?.place().ok_or(Errno::EADDRNOTAVAIL)?;
                if self.conflicts(id, at.ip(), at.port())? {
                    return Err(Errno::EADDRINUSE);
                }
            }
            (State::New | State::Listening(_), _) => {}
            _ => return Err(Errno::EINVAL),
        }
        let backlog = backlog.min(MAX_BACKLOG) as usize;
        let socket = self.get_mut(id)?;
        match &mut socket.state {
            State::Listening(listener) => listener.backlog = backlog,
            state => *state = State::Listening(Listener { backlog, ..Listener::default() }),
        }
        socket.peer_credentials = Some(credentials);
        Ok(())
    }

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
    fn leave_from(&mut self, id: SocketId, from: IpAddr) -> Result<(), Errno> {
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

    /// Connects a socket, or lets it wait where there is no room.
    fn knock(&mut self, id: SocketId, listener: SocketId, budget: &mut Budget) {
        if let Ok(socket) = self.get_mut(listener)
            && let State::Listening(queue) = &mut socket.state
            && queue.is_full()
        {
            queue.waiting.push_back(id);
        } else if self.establish(id, listener, budget).is_err() {
            self.refuse(id);
        }
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

    /// Makes the other end of a connection, which is ready to be accepted then.
    fn establish(&mut self, id: SocketId, listener: SocketId, budget: &mut Budget) -> Result<SocketId, Errno> {
        let parent = self.get(listener)?;
        let (family, kind, protocol) = (parent.family, parent.kind, parent.protocol);
        let (local, credentials, mut options) = (parent.local.clone(), parent.peer_credentials, parent.options.clone());
        if family == Family::Unix {
            options = super::options::Options::default();
        }
        let child = self.create(family, kind, protocol, budget)?;
        let client = self.get_mut(id)?;
        if family == Family::Unix {
            (client.remote, client.peer_credentials) = (local.clone(), credentials);
        }
        (client.peer, client.state) = (Some(child), State::Connected);
        client.edges.write += 1;
        client.changed();
        let (to, from) = (client.remote.clone(), client.local.clone());
        let socket = self.get_mut(child)?;
        (socket.peer, socket.state, socket.remote, socket.options) = (Some(id), State::Connected, from, options);
        match to {
            Some(Address::Inet(at)) => {
                self.take_port(child, at)?;
                self.get_mut(child)?.chosen = true;
            }
            _ => socket.local = local,
        }
        let socket = self.get_mut(listener)?;
        socket.edges.read += 1;
        if let State::Listening(queue) = &mut socket.state {
            queue.ready.push_back(child);
        }
        Ok(child)
    }

    /// accept(2): our end of the first connection; `None` while there is none.
    pub(crate) fn accept(
        &mut self,
        id: SocketId,
        nonblock: bool,
        budget: &mut Budget,
    ) -> Result<Option<SocketId>, Errno> {
        let socket = self.get_mut(id)?;
        let (kind, shut) = (socket.kind, socket.shut.read);
        let State::Listening(listener) = &mut socket.state else {
            return Err(if kind == Kind::Datagram { Errno::EOPNOTSUPP } else { Errno::EINVAL });
        };
        let Some(child) = listener.ready.pop_front() else {
            return if shut && !nonblock { Err(Errno::EINVAL) } else { Ok(None) };
        };
        // There is room for one more.
        while let Some(waiting) = self.next_waiting(id) {
            if self.get(waiting).is_ok_and(|socket| socket.state == State::Connecting) {
                self.knock(waiting, id, budget);
                break;
            }
        }
        Ok(Some(child))
    }

    fn next_waiting(&mut self, id: SocketId) -> Option<SocketId> {
        match &mut self.get_mut(id).ok()?.state {
            State::Listening(listener) => listener.waiting.pop_front(),
            _ => None,
        }
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
}

//! Listening: listen(2), accept(2). Both ends of a connection are made at once, and the listening one is accepted later.
use super::{
    Address, Credentials, Family, Kind, Net, SocketId,
    limits::MAX_BACKLOG,
    options::Options,
    socket::{Listener, State},
};
use crate::{errno::Errno, fs::Budget};

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

    /// Connects a socket, or lets it wait where there is no room.
    pub(super) fn knock(&mut self, id: SocketId, listener: SocketId, budget: &mut Budget) {
        if let Ok(socket) = self.get_mut(listener)
            && let State::Listening(queue) = &mut socket.state
            && queue.is_full()
        {
            queue.waiting.push_back(id);
        } else if self.establish(id, listener, budget).is_err() {
            self.refuse(id);
        }
    }

    /// Makes the other end of a connection, which is ready to be accepted then.
    pub(super) fn establish(
        &mut self,
        id: SocketId,
        listener: SocketId,
        budget: &mut Budget,
    ) -> Result<SocketId, Errno> {
        let parent = self.get(listener)?;
        let (family, kind, protocol) = (parent.family, parent.kind, parent.protocol);
        let (local, credentials, mut options) = (parent.local.clone(), parent.peer_credentials, parent.options.clone());
        if family == Family::Unix {
            options = Options::default();
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
}

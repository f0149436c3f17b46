//! Sending: bytes go into the queue of whoever is to receive them.
use super::{
    Address, Control, Family, Kind, Net, SocketId,
    limits::{BUFFER, MAX_IN_FLIGHT, MESSAGE_COST, MESSAGE_RESERVE},
    queue::length,
    socket::State,
};
use crate::{errno::Errno, fs::Budget};

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) parts: &'a [&'a [u8]],
    /// Its descriptions are the caller's until the message was taken: then they are held by it.
    pub(crate) control: Control,
}

/// Where a datagram over a Unix socket goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Peer,
    Other(SocketId),
}

impl Net {
    /// Bytes that may lie between a socket and who receives of it.
    fn capacity(&self, from: SocketId, to: SocketId) -> usize {
        match (self.get(from), self.get(to)) {
            (Ok(from), _) if from.family == Family::Unix => from.options.send,
            (_, Ok(to)) => to.options.receive,
            _ => 0,
        }
    }

    /// Whether sending does not wait. As on Linux, a TCP socket finds room where a third is free.
    pub(crate) fn has_room(&self, id: SocketId) -> bool {
        let Ok(socket) = self.get(id) else { return true };
        let Some((to, peer)) = socket.peer.and_then(|peer| Some((peer, self.sockets.get(&peer)?))) else { return true };
        let (held, capacity) = (peer.queue.held(), self.capacity(id, to));
        if socket.family == Family::Unix { socket.finds_room(held) } else { held <= capacity / 3 * 2 }
    }

    /// Sends on a connection: how many bytes were taken, or `None` where there is no room now. `EPIPE` is for SIGPIPE where
    /// it is a stream.
    pub(crate) fn send(
        &mut self,
        id: SocketId,
        message: Message<'_>,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Errno> {
        let socket = self.get_mut(id)?;
        if socket.is_tcp() {
            match socket.state {
                State::Connecting => return Ok(None),
                State::New | State::Listening(_) => return Err(socket.error.take().unwrap_or(Errno::EPIPE)),
                _ if socket.error.is_some() || socket.shut.write => {
                    return Err(socket.error.take().unwrap_or(Errno::EPIPE));
                }
                _ => {}
            }
        } else {
            if socket.kind == Kind::Packets {
                socket.take_error()?;
            }
            if socket.state != State::Connected {
                return Err(Errno::ENOTCONN);
            }
            if socket.shut.write {
                return Err(Errno::EPIPE);
            }
        }
        let (kind, family, peer) = (socket.kind, socket.family, socket.peer);
        let Some(to) = peer.filter(|peer| self.sockets.contains_key(peer)) else {
            return self.send_to_nobody(id, &message);
        };
        if family != Family::Unix && self.get(to)?.shut.write && self.get(to)?.shut.read {
            // It said that it reads no more either.
            self.get_mut(to)?.reset();
            return self.send_to_nobody(id, &message);
        }
        match kind {
            Kind::Stream => self.push_stream(id, to, message, budget),
            _ => self.push_message(id, to, message, None, budget),
        }
    }

    /// The other end was closed: TCP finds out by what it sends.
    fn send_to_nobody(&mut self, id: SocketId, message: &Message<'_>) -> Result<Option<usize>, Errno> {
        let socket = self.get_mut(id)?;
        if !socket.is_tcp() {
            return Err(Errno::EPIPE);
        }
        socket.reset();
        // No more than the socket has room for: who sends more learns of it.
        Ok(Some(length(message.parts).min(BUFFER)))
    }

    fn fly(&mut self, control: &Control) -> Result<(), Errno> {
        if self.in_flight + control.rights.len() > MAX_IN_FLIGHT {
            return Err(Errno::ETOOMANYREFS);
        }
        self.in_flight += control.rights.len();
        Ok(())
    }

    /// Descriptions in a message were received or dropped.
    pub(super) const fn landed(&mut self, count: usize) {
        self.in_flight = self.in_flight.saturating_sub(count);
    }

    fn push_stream(
        &mut self,
        id: SocketId,
        to: SocketId,
        message: Message<'_>,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Errno> {
        let total = length(message.parts);
        if total == 0 {
            return Ok(Some(0));
        }
        let (capacity, rights) = (self.capacity(id, to), message.control.rights.len());
        self.fly(&message.control)?;
        let socket = self.get_mut(to)?;
        let pushed = socket.queue.push_stream(message.parts, capacity, message.control, budget);
        socket.edges.read += u64::from(pushed.is_ok_and(|count| count > 0));
        if !pushed.is_ok_and(|count| count > 0) {
            self.landed(rights);
        }
        Ok(Some(pushed?).filter(|count| *count > 0))
    }

    pub(super) fn push_message(
        &mut self,
        id: SocketId,
        to: SocketId,
        message: Message<'_>,
        from: Option<Address>,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Errno> {
        let (total, capacity) = (length(message.parts), self.capacity(id, to));
        if total > capacity.saturating_sub(MESSAGE_RESERVE) {
            return Err(Errno::EMSGSIZE);
        }
        let held = self.get(to)?.queue.held();
        // An empty queue takes any message that fits the buffer.
        if held > 0 && held.saturating_add(total + MESSAGE_COST) > capacity {
            return Ok(None);
        }
        let rights = message.control.rights.len();
        self.fly(&message.control)?;
        let socket = self.get_mut(to)?;
        if let Err(error) = socket.queue.push_message(message.parts, (from, Some(id)), message.control, budget) {
            self.landed(rights);
            return Err(error);
        }
        socket.edges.read += 1;
        Ok(Some(total))
    }
}

//! Receiving: what was sent, or that nothing comes any more.
use super::{Address, Credentials, Cursor, Family, Kind, Net, SocketId, queue::Taken, socket::State};
use crate::{errno::Errno, fs::Budget};
use alloc::vec::Vec;
use linux_raw_sys::net as abi;

/// How to receive.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// It stays where it is.
    pub(crate) peek: bool,
    /// The call does not wait.
    pub(crate) nonblock: bool,
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) taken: Taken,
    /// Where it came from, as the program is told; empty for streams.
    pub(crate) from: Vec<u8>,
}

/// What receiving gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Some(Received),
    /// Nothing comes any more.
    End,
    /// Nothing yet.
    Later,
}

impl Net {
    /// Receives what is there.
    pub(crate) fn receive(
        &mut self,
        id: SocketId,
        into: &mut Cursor<'_>,
        how: How,
        budget: &mut Budget,
    ) -> Result<Got, Errno> {
        match self.get(id)?.kind {
            Kind::Stream => self.receive_stream(id, into, how, budget),
            _ => self.receive_message(id, into, how, budget),
        }
    }

    fn receive_stream(
        &mut self,
        id: SocketId,
        into: &mut Cursor<'_>,
        how: How,
        budget: &mut Budget,
    ) -> Result<Got, Errno> {
        let socket = self.get_mut(id)?;
        if socket.family == Family::Unix && socket.state != State::Connected {
            return Err(Errno::EINVAL);
        }
        if matches!(socket.state, State::Listening(_)) {
            return Err(Errno::ENOTCONN);
        }
        if !socket.queue.is_empty() {
            let taken = socket.queue.take_stream(into, how.peek, budget);
            if !how.peek {
                self.landed(taken.control.rights.len());
                if let Some(peer) = self.peer_mut(id) {
                    peer.edges.write += 1;
                }
            }
            return Ok(Got::Some(Received { taken, from: Vec::new() }));
        }
        // As on Linux: after the last byte there is no error.
        if socket.ended {
            return Ok(Got::End);
        }
        socket.take_error()?;
        match socket.state {
            _ if socket.shut.read => Ok(Got::End),
            State::New => Err(Errno::ENOTCONN),
            _ => Ok(Got::Later),
        }
    }

    fn receive_message(
        &mut self,
        id: SocketId,
        into: &mut Cursor<'_>,
        how: How,
        budget: &mut Budget,
    ) -> Result<Got, Errno> {
        let socket = self.get_mut(id)?;
        let packets = socket.kind == Kind::Packets;
        if packets && socket.state != State::Connected {
            return Err(Errno::ENOTCONN);
        }
        socket.take_error()?;
        let (family, held) = (socket.family, socket.queue.held());
        let Some(mut taken) = socket.queue.take_message(into, how.peek, budget) else {
            let end = socket.shut.read && (packets || !how.nonblock);
            return Ok(if end { Got::End } else { Got::Later });
        };
        let from = taken.from.take();
        let from = match &from {
            // Who is not bound has no address at all.
            None => Vec::new(),
            Some(_) => Address::told(from.as_ref(), family),
        };
        if !how.peek {
            self.landed(taken.control.rights.len());
            self.wake_senders(taken.sender);
            self.wake_connected(id, held);
        }
        Ok(Got::Some(Received { taken, from }))
    }

    /// Who sent a message, if a socket wants to know: nobody, where the message does not say.
    pub(crate) fn wanted_credentials(&self, id: SocketId, sent: Option<Credentials>) -> Option<Credentials> {
        const NOBODY: Credentials = Credentials { pid: 0, uid: 65_534, gid: 65_534 };
        let wanted = self.get(id).is_ok_and(|socket| socket.is_on(abi::SO_PASSCRED));
        wanted.then(|| sent.unwrap_or(NOBODY))
    }

    /// Those whose messages are gone have more room.
    pub(super) fn wake_senders(&mut self, senders: impl IntoIterator<Item = SocketId>) {
        for sender in senders {
            if let Some(socket) = self.sockets.get_mut(&sender) {
                socket.edges.write += 1;
            }
        }
    }

    /// Less lies in a queue than the `held` bytes before: whoever is connected to it, and could not send, may now.
    fn wake_connected(&mut self, id: SocketId, held: usize) {
        let Ok(left) = self.get(id).map(|socket| socket.queue.held()) else { return };
        for socket in self.sockets.values_mut().filter(|socket| socket.peer == Some(id)) {
            let (before, now) = (socket.finds_room(held), socket.finds_room(left));
            socket.edges.write += u64::from(now && !before);
        }
    }
}

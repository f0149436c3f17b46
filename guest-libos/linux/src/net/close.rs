//! The end of connections: shutdown(2), and the last descriptor closed.
use super::{
    Family, Kind, Net, SocketId,
    socket::{Shut, Socket, State},
};
use crate::{
    errno::Errno,
    fs::{Budget, Edges, Events},
};
use linux_raw_sys::net as abi;

impl Net {
    /// shutdown(2).
    pub(crate) fn shutdown(&mut self, id: SocketId, how: u32, budget: &mut Budget) -> Result<(), Errno> {
        let (read, write) = match how {
            abi::SHUT_RD => (true, false),
            abi::SHUT_WR => (false, true),
            abi::SHUT_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let socket = self.get_mut(id)?;
        let (family, kind) = (socket.family, socket.kind);
        if socket.connecting && socket.state == State::Closed {
            // That it was connected is never told then.
            socket.peer = None;
        }
        socket.connecting &= socket.state == State::Connecting;
        match (&socket.state, family) {
            (State::Listening(_), Family::Inet | Family::Inet6) => {
                if read {
                    self.stop_listening(id, budget);
                }
                return Ok(());
            }
            (State::New | State::Closed, Family::Inet | Family::Inet6) => {
                // As on Linux, it is shut all the same.
                socket.shut.read |= read;
                socket.shut.write |= write;
                socket.changed();
                return Err(Errno::ENOTCONN);
            }
            (State::Connecting, _) => {
                self.refuse(id);
                return Ok(());
            }
            _ => {}
        }
        let says_end = write && !socket.shut.write;
        socket.shut.read |= read;
        socket.shut.write |= write;
        socket.changed();
        if socket.is_tcp() {
            if says_end {
                self.end(id);
            }
        } else if kind != Kind::Datagram
            && let Some(peer) = self.peer_mut(id)
        {
            peer.shut.read |= write;
            peer.shut.write |= read;
            peer.changed();
        }
        Ok(())
    }

    /// A TCP socket has sent its last byte.
    fn end(&mut self, id: SocketId) {
        let Some(peer) = self.peer_mut(id) else {
            // Nobody is there to say more.
            return self.get_mut(id).map_or((), Socket::close_both);
        };
        let over = peer.hear_end();
        if over && let Ok(socket) = self.get_mut(id) {
            socket.close_both();
        }
    }

    /// What waits at a TCP socket is refused; the socket is as new.
    fn stop_listening(&mut self, id: SocketId, budget: &mut Budget) {
        let Ok(socket) = self.get_mut(id) else { return };
        let State::Listening(listener) = core::mem::replace(&mut socket.state, State::New) else { return };
        socket.shut = Shut::default();
        socket.changed();
        for child in listener.ready {
            self.close_as(child, true, budget);
        }
        listener.waiting.into_iter().for_each(|waiting| self.refuse(waiting));
        self.leave(id);
    }

    /// connect(2) to no family: a TCP socket is as new, but for where it was bound.
    pub(crate) fn disconnect(&mut self, id: SocketId, budget: &mut Budget) -> Result<(), Errno> {
        self.stop_listening(id, budget);
        if let Some(peer) = self.peer_mut(id) {
            peer.reset();
        }
        let socket = self.get_mut(id)?;
        socket.queue.clear(budget);
        (socket.state, socket.shut, socket.peer, socket.remote) = (State::New, Shut::default(), None, None);
        (socket.ended, socket.connecting, socket.error) = (false, false, None);
        socket.changed();
        Ok(())
    }

    /// Nothing leads to a socket any more.
    pub(crate) fn close(&mut self, id: SocketId, budget: &mut Budget) {
        let abort = self.get(id).is_ok_and(|socket| socket.options.linger == (true, 0));
        self.stop_listening(id, budget);
        self.close_as(id, abort, budget);
    }

    /// What was sent to a socket is lost.
    pub(super) fn forget(&mut self, id: SocketId, budget: &mut Budget) {
        let Ok(socket) = self.get_mut(id) else { return };
        let (rights, senders) = socket.queue.clear(budget);
        self.landed(rights.len());
        self.dropped.extend(rights);
        self.wake_senders(senders);
    }

    /// Closes a socket; with `abort`, the other end is told that what it sent is lost.
    fn close_as(&mut self, id: SocketId, abort: bool, budget: &mut Budget) {
        let lost = abort || self.get(id).is_ok_and(|socket| !socket.queue.is_empty());
        self.forget(id, budget);
        let Some(socket) = self.sockets.remove(&id) else { return };
        budget.release(super::limits::SOCKET_COST);
        self.unbind(id, socket.kind, socket.local.as_ref());
        let Some(peer) = socket.peer.and_then(|peer| self.sockets.get_mut(&peer)) else { return };
        if socket.is_tcp() {
            if lost {
                peer.reset();
            } else if !socket.shut.write {
                peer.hear_end();
            }
        } else if socket.kind != Kind::Datagram {
            peer.shut = Shut::BOTH;
            if lost {
                peer.error = Some(Errno::ECONNRESET);
            }
            peer.changed();
        }
    }

    /// What can be done with a socket without waiting.
    pub(crate) fn ready(&self, id: SocketId) -> Events {
        self.get(id).map_or(Events::ERR, |socket| socket.ready(self.has_room(id)))
    }

    /// How often that changed.
    pub(crate) fn edges(&self, id: SocketId) -> Edges {
        self.get(id).map_or(Edges::default(), |socket| socket.edges)
    }
}

impl Socket {
    /// The other end of a TCP connection sends no more. Whether the connection is over then.
    fn hear_end(&mut self) -> bool {
        let said = self.shut.write;
        (self.ended, self.shut.read) = (true, true);
        self.edges.read += 1;
        self.changed();
        if said && self.state == State::Connected {
            self.close_both();
        }
        said
    }
}

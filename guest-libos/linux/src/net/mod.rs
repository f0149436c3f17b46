//! Sockets between the parts of one program: Unix sockets, and TCP and UDP over a loopback of the VM's own.
//!
//! Both ends of every connection are here, so there are no packets: sending puts bytes into the queue of the other end, in
//! order and at once. Pure state, with no descriptors and no waiting: [`crate::fs`] gives sockets descriptors and
//! says who waits. A loopback of packets would be more code than this, and slower, also with a library for it.
//!
//! | module | what |
//! |---|---|
//! | `address` | addresses as programs give them and are told them |
//! | `socket`, `options`, `queue` | one socket: its state, what it was told, what was sent to it |
//! | `ports` | binding, and who is where |
//! | `listen`, `connect`, `datagram`, `send`, `receive`, `cursor`, `close` | calls |
//!
//! Everything is bounded: sockets by [`limits`], bytes by each socket's buffer and by the memory of files.
//! Errors and readiness are Linux's; `tests/differential.rs` holds them against the host's.
mod address;
mod close;
mod connect;
mod cursor;
mod datagram;
pub(crate) mod limits;
mod listen;
mod options;
mod ports;
mod queue;
mod receive;
mod send;
mod socket;

#[cfg(test)]
mod tests;

pub(crate) use address::{Address, Given};
pub(crate) use cursor::Cursor;
pub(crate) use options::Told;
pub(crate) use queue::{Control, Credentials};
pub(crate) use receive::{Got, How};
pub(crate) use send::{Message, To};
pub(crate) use socket::{Family, Kind};

use crate::{errno::Errno, fs::Budget};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::net::SocketAddr;
use limits::{MAX_SOCKETS, SOCKET_COST};
use socket::{Socket, State};

/// A socket: never used again after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId(pub(crate) u64);

/// Destinations that are not in this VM, which were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unreachable {
    /// How often.
    pub count: u64,
    /// The last one.
    pub last: Option<SocketAddr>,
}

/// All sockets of a process.
#[derive(Debug, Default)]
pub(crate) struct Net {
    sockets: BTreeMap<SocketId, Socket>,
    made: u64,
    /// Who is bound to a port: of streams, or of datagrams.
    ports: BTreeMap<(Kind, u16), Vec<SocketId>>,
    /// Who is bound to an abstract name.
    names: BTreeMap<(Kind, Box<[u8]>), SocketId>,
    /// Ephemeral ports and names that were given.
    given: u32,
    /// Descriptions in messages that nobody receives any more: the caller's to close.
    pub(crate) dropped: Vec<u64>,
    /// Descriptions in messages.
    in_flight: usize,
    pub(crate) unreachable: Unreachable,
}

impl Net {
    /// A socket that is not bound. `ENFILE` beyond the bound of sockets, `ENOBUFS` beyond that of memory.
    pub(crate) fn create(
        &mut self,
        family: Family,
        kind: Kind,
        protocol: u32,
        budget: &mut Budget,
    ) -> Result<SocketId, Errno> {
        if self.sockets.len() >= MAX_SOCKETS {
            return Err(Errno::ENFILE);
        }
        budget.charge(SOCKET_COST).map_err(|_| Errno::ENOBUFS)?;
        self.made += 1;
        let id = SocketId(self.made);
        self.sockets.insert(id, Socket::new(family, kind, protocol));
        Ok(id)
    }

    /// socketpair(2): lets two new Unix sockets be connected.
    pub(crate) fn join(&mut self, pair: [SocketId; 2], credentials: Credentials) -> Result<(), Errno> {
        let [one, other] = pair;
        for (id, peer) in [(one, other), (other, one)] {
            let socket = self.get_mut(id)?;
            socket.peer = Some(peer);
            socket.peer_credentials = Some(credentials);
            socket.state = State::Connected;
        }
        Ok(())
    }

    /// `EBADF` for one that was closed.
    pub(crate) fn get(&self, id: SocketId) -> Result<&Socket, Errno> {
        self.sockets.get(&id).ok_or(Errno::EBADF)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Result<&mut Socket, Errno> {
        self.sockets.get_mut(&id).ok_or(Errno::EBADF)
    }

    /// The other end, if it is still there.
    fn peer_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let peer = self.sockets.get(&id)?.peer?;
        self.sockets.get_mut(&peer)
    }

    /// Where a socket is bound, as its family tells it.
    pub(crate) fn local(&self, id: SocketId) -> Result<Vec<u8>, Errno> {
        let socket = self.get(id)?;
        Ok(Address::told(socket.local.as_ref(), socket.family))
    }

    /// Where the other end is. `ENOTCONN` if there is none.
    pub(crate) fn remote(&self, id: SocketId) -> Result<Vec<u8>, Errno> {
        let socket = self.get(id)?;
        if socket.state == State::Connected { self.came_from(id) } else { Err(Errno::ENOTCONN) }
    }

    /// The same of a connection that may be over.
    pub(crate) fn came_from(&self, id: SocketId) -> Result<Vec<u8>, Errno> {
        let socket = self.get(id)?;
        Ok(Address::told(socket.remote.as_ref(), socket.family))
    }
}

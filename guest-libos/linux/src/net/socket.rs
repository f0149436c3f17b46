//! One socket: what it is, whom it is connected to, and what can be done with it.
use super::{Address, Credentials, SocketId, options::Options, queue::Queue};
use crate::{
    errno::Errno,
    fs::{Edges, Events},
};
use alloc::collections::VecDeque;
use core::net::IpAddr;
use linux_raw_sys::net as abi;

/// The addresses that a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Unix,
    Inet,
    Inet6,
}

impl Family {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Unix => abi::AF_UNIX,
            Self::Inet => abi::AF_INET,
            Self::Inet6 => abi::AF_INET6,
        }
    }
}

/// How bytes come out of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Stream,
    Datagram,
    /// Messages over a connection (`SOCK_SEQPACKET`).
    Packets,
}

impl Kind {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Stream => abi::SOCK_STREAM,
            Self::Datagram => abi::SOCK_DGRAM,
            Self::Packets => abi::SOCK_SEQPACKET,
        }
    }
}

/// How far a connection is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected, or a connection was refused.
    New,
    /// It waits for room at a listening socket (TCP alone).
    Connecting,
    Listening(Listener),
    Connected,
    /// A connection that is over in both directions.
    Closed,
}

/// Connections that were not accepted yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listener {
    /// One more than this may be ready.
    pub(crate) backlog: usize,
    /// Our ends of what is connected.
    pub(crate) ready: VecDeque<SocketId>,
    /// Who waits for room; who went away meanwhile is still in it.
    pub(crate) waiting: VecDeque<SocketId>,
}

impl Listener {
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() > self.backlog
    }
}

/// A direction of a connection that is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shut {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Shut {
    pub(crate) const BOTH: Self = Self { read: true, write: true };
}

/// A socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    pub(crate) protocol: u32,
    pub(crate) state: State,
    /// The other end; of datagrams over Unix sockets, where they go.
    pub(crate) peer: Option<SocketId>,
    pub(crate) local: Option<Address>,
    /// The wildcard that it was bound to before it was connected.
    pub(crate) any: Option<IpAddr>,
    /// Its port was not asked for.
    pub(crate) chosen: bool,
    pub(crate) remote: Option<Address>,
    pub(crate) peer_credentials: Option<Credentials>,
    pub(crate) queue: Queue,
    pub(crate) shut: Shut,
    /// The other end of a TCP connection has sent its last byte.
    pub(crate) ended: bool,
    /// connect(2) has started and did not tell its end yet (TCP alone).
    pub(crate) connecting: bool,
    /// What the next call fails with, once.
    pub(crate) error: Option<Errno>,
    pub(crate) options: Options,
    pub(crate) edges: Edges,
}

impl Socket {
    pub(crate) fn new(family: Family, kind: Kind, protocol: u32) -> Self {
        Self {
            family,
            kind,
            protocol,
            state: State::New,
            peer: None,
            local: None,
            any: None,
            chosen: false,
            remote: None,
            peer_credentials: None,
            queue: Queue::default(),
            shut: Shut::default(),
            ended: false,
            connecting: false,
            error: None,
            options: Options::default(),
            edges: Edges::default(),
        }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.family != Family::Unix && self.kind == Kind::Stream
    }

    /// The pending error, which is none any more.
    pub(crate) fn take_error(&mut self) -> Result<(), Errno> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Whether a Unix socket may send where so many bytes lie: as on Linux, if a quarter of its buffer holds them.
    pub(crate) const fn finds_room(&self, held: usize) -> bool {
        held * 4 <= self.options.send
    }

    /// Something changed besides bytes: every waiter looks.
    pub(crate) const fn changed(&mut self) {
        self.edges.end += 1;
    }

    /// A TCP connection is over at once.
    pub(crate) fn reset(&mut self) {
        if self.state == State::Connected {
            self.error = Some(if self.ended { Errno::EPIPE } else { Errno::ECONNRESET });
            self.close_both();
        }
    }

    /// A TCP connection is over in both directions.
    pub(crate) fn close_both(&mut self) {
        (self.state, self.shut) = (State::Closed, Shut::BOTH);
        self.changed();
    }

    /// What can be done without waiting; `room` says whether what it sends to has room.
    pub(crate) fn ready(&self, room: bool) -> Events {
        let connected = self.state == State::Connected || self.kind == Kind::Datagram;
        match &self.state {
            State::Connecting => return Events::NONE,
            State::Listening(listener) => {
                let shut = if self.is_tcp() { Shut::default() } else { self.shut };
                let end = Events::IN.and(Events::RDHUP).when(shut.read).and(Events::HUP.when(shut == Shut::BOTH));
                return Events::IN.when(!listener.ready.is_empty()).and(end);
            }
            State::New | State::Connected | State::Closed => {}
        }
        let input = Events::IN.when(!self.queue.is_empty());
        let end = Events::IN.and(Events::RDHUP).when(self.shut.read);
        let hang = Events::HUP.when(self.shut == Shut::BOTH || !connected);
        // Writing to what is shut does not wait: it fails.
        let output = Events::OUT.when(room || self.shut.write && self.is_tcp());
        input.and(end).and(hang).and(output).and(Events::ERR.when(self.error.is_some()))
    }
}

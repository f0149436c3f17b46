//! Options of sockets: setsockopt(2), getsockopt(2). What means nothing here is kept, and told back.
use super::{
    Credentials, Family, Kind, Net, SocketId,
    limits::{BUFFER, MAX_BUFFER, MIN_RECEIVE, MIN_SEND},
    socket::{Socket, State},
};
use crate::errno::Errno;
use alloc::{collections::BTreeMap, vec::Vec};
use linux_raw_sys::net as abi;

/// Level and name.
type Name = (u32, u32);

/// What a socket was told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Options that are only kept, where they were set: as many as [`KEPT`] has at most.
    kept: BTreeMap<Name, i32>,
    /// Bytes of the buffers.
    pub(crate) receive: usize,
    pub(crate) send: usize,
    /// How long a call waits, in ns.
    pub(crate) receive_ns: Option<u64>,
    pub(crate) send_ns: Option<u64>,
    /// Whether it lingers at its end, and for how many seconds.
    pub(crate) linger: (bool, i32),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kept: BTreeMap::new(),
            receive: BUFFER,
            send: BUFFER,
            receive_ns: None,
            send_ns: None,
            linger: (false, 0),
        }
    }
}

impl Options {
    /// Sets `IPV6_V6ONLY`.
    pub(super) fn set_v6_only(&mut self) {
        self.kept.insert((abi::SOL_IPV6, abi::IPV6_V6ONLY), 1);
    }
}

/// Which sockets have an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// TCP.
    Tcp,
    /// IPv4 and IPv6.
    Inet,
    Inet6,
}

/// An option that is kept: what it is at first, and what it may be.
struct Kept {
    name: Name,
    which: Which,
    first: i32,
    least: i32,
    most: i32,
}

const fn kept(level: u32, name: u32, which: Which, first: i32, least: i32, most: i32) -> Kept {
    Kept { name: (level, name), which, first, least, most }
}

/// One that is on or off.
const fn switch(level: u32, name: u32, which: Which, first: i32) -> Kept {
    kept(level, name, which, first, 0, 1)
}

const KEPT: &[Kept] = &[
    switch(abi::SOL_SOCKET, abi::SO_DEBUG, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_REUSEADDR, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_DONTROUTE, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_BROADCAST, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_KEEPALIVE, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_OOBINLINE, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_NO_CHECK, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_REUSEPORT, Which::All, 0),
    switch(abi::SOL_SOCKET, abi::SO_PASSCRED, Which::All, 0),
    kept(abi::SOL_SOCKET, abi::SO_PRIORITY, Which::All, 0, 0, 6),
    switch(abi::SOL_TCP, abi::TCP_NODELAY, Which::Tcp, 0),
    switch(abi::SOL_TCP, abi::TCP_CORK, Which::Tcp, 0),
    switch(abi::SOL_TCP, abi::TCP_QUICKACK, Which::Tcp, 1),
    kept(abi::SOL_TCP, abi::TCP_MAXSEG, Which::Tcp, 65_483, 88, 65_535),
    kept(abi::SOL_TCP, abi::TCP_KEEPIDLE, Which::Tcp, 7200, 1, 32_767),
    kept(abi::SOL_TCP, abi::TCP_KEEPINTVL, Which::Tcp, 75, 1, 32_767),
    kept(abi::SOL_TCP, abi::TCP_KEEPCNT, Which::Tcp, 9, 1, 127),
    kept(abi::SOL_TCP, abi::TCP_SYNCNT, Which::Tcp, 6, 1, 127),
    kept(abi::SOL_TCP, abi::TCP_LINGER2, Which::Tcp, 60, -1, i32::MAX),
    kept(abi::SOL_TCP, abi::TCP_DEFER_ACCEPT, Which::Tcp, 0, 0, i32::MAX),
    kept(abi::SOL_TCP, abi::TCP_USER_TIMEOUT, Which::Tcp, 0, 0, i32::MAX),
    kept(abi::SOL_TCP, abi::TCP_NOTSENT_LOWAT, Which::Tcp, 0, i32::MIN, i32::MAX),
    kept(abi::SOL_IP, abi::IP_TOS, Which::Inet, 0, 0, 255),
    kept(abi::SOL_IP, abi::IP_TTL, Which::Inet, 64, 1, 255),
    kept(abi::SOL_IP, abi::IP_MTU_DISCOVER, Which::Inet, 1, 0, 5),
    switch(abi::SOL_IP, abi::IP_RECVERR, Which::Inet, 0),
    switch(abi::SOL_IP, abi::IP_FREEBIND, Which::Inet, 0),
    switch(abi::SOL_IP, abi::IP_BIND_ADDRESS_NO_PORT, Which::Inet, 0),
    kept(abi::SOL_IP, abi::IP_MULTICAST_TTL, Which::Inet, 1, 0, 255),
    switch(abi::SOL_IP, abi::IP_MULTICAST_LOOP, Which::Inet, 1),
    switch(abi::SOL_IPV6, abi::IPV6_V6ONLY, Which::Inet6, 0),
    kept(abi::SOL_IPV6, abi::IPV6_UNICAST_HOPS, Which::Inet6, 64, 0, 255),
    kept(abi::SOL_IPV6, abi::IPV6_MULTICAST_HOPS, Which::Inet6, 1, 0, 255),
    switch(abi::SOL_IPV6, abi::IPV6_MULTICAST_LOOP, Which::Inet6, 1),
    kept(abi::SOL_IPV6, abi::IPV6_MTU_DISCOVER, Which::Inet6, 1, 0, 5),
    switch(abi::SOL_IPV6, abi::IPV6_RECVERR, Which::Inet6, 0),
    kept(abi::SOL_IPV6, abi::IPV6_TCLASS, Which::Inet6, 0, 0, 255),
];

/// What getsockopt(2) tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Number(i32),
    Bytes(Vec<u8>),
}

impl Socket {
    fn kept(&self, level: u32, name: u32) -> Result<&'static Kept, Errno> {
        let has = |which| match which {
            Which::All => true,
            Which::Tcp => self.is_tcp(),
            Which::Inet => self.family != Family::Unix,
            Which::Inet6 => self.family == Family::Inet6,
        };
        let kept = KEPT.iter().find(|kept| kept.name == (level, name) && has(kept.which));
        // Unix sockets have no options but those of all.
        let missing = if level != abi::SOL_SOCKET && self.family == Family::Unix {
            Errno::EOPNOTSUPP
        } else {
            Errno::ENOPROTOOPT
        };
        kept.ok_or(missing)
    }

    fn option(&self, level: u32, name: u32) -> Result<i32, Errno> {
        let kept = self.kept(level, name)?;
        Ok(self.options.kept.get(&kept.name).copied().unwrap_or(kept.first))
    }

    /// Whether a switch of all sockets is on.
    pub(crate) fn is_on(&self, name: u32) -> bool {
        self.option(abi::SOL_SOCKET, name).is_ok_and(|value| value != 0)
    }

    /// Whether it takes no IPv4.
    pub(crate) fn is_v6_only(&self) -> bool {
        self.option(abi::SOL_IPV6, abi::IPV6_V6ONLY).is_ok_and(|value| value != 0)
    }
}

impl Net {
    /// setsockopt(2) of an option whose value is a number.
    pub(crate) fn set_option(&mut self, id: SocketId, level: u32, name: u32, value: i32) -> Result<(), Errno> {
        let socket = self.get_mut(id)?;
        // Linux takes it as unsigned here, and gives twice as much.
        let buffer = |least: usize| (value.cast_unsigned() as usize).min(MAX_BUFFER).saturating_mul(2).max(least);
        match (level, name) {
            (abi::SOL_SOCKET, abi::SO_RCVBUF) => socket.options.receive = buffer(MIN_RECEIVE),
            (abi::SOL_SOCKET, abi::SO_SNDBUF) => socket.options.send = buffer(MIN_SEND),
            _ => {
                let kept = socket.kept(level, name)?;
                if (level, name) == (abi::SOL_IPV6, abi::IPV6_V6ONLY) && socket.local.is_some() {
                    return Err(Errno::EINVAL);
                }
                let value = match (kept.least, kept.most) {
                    (0, 1) => i32::from(value != 0),
                    // -1 is what it was at first.
                    (least, _) if value == -1 && level != abi::SOL_TCP && least >= 0 => kept.first,
                    (least, most) if (least..=most).contains(&value) => value,
                    _ => return Err(Errno::EINVAL),
                };
                socket.options.kept.insert(kept.name, value);
            }
        }
        Ok(())
    }

    /// SO_LINGER.
    pub(crate) fn set_linger(&mut self, id: SocketId, on: bool, seconds: i32) -> Result<(), Errno> {
        self.get_mut(id)?.options.linger = (on, seconds);
        Ok(())
    }

    /// SO_RCVTIMEO and SO_SNDTIMEO, in ns; `None` for ever.
    pub(crate) fn set_timeout(&mut self, id: SocketId, sends: bool, ns: Option<u64>) -> Result<(), Errno> {
        let options = &mut self.get_mut(id)?.options;
        *(if sends { &mut options.send_ns } else { &mut options.receive_ns }) = ns;
        Ok(())
    }

    /// getsockopt(2), but for times.
    pub(crate) fn option(&mut self, id: SocketId, level: u32, name: u32) -> Result<Told, Errno> {
        let socket = self.get_mut(id)?;
        let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(Told::Number(match (level, name) {
            (abi::SOL_SOCKET, abi::SO_TYPE) => socket.kind.number().cast_signed(),
            (abi::SOL_SOCKET, abi::SO_DOMAIN) => socket.family.number().cast_signed(),
            (abi::SOL_SOCKET, abi::SO_PROTOCOL) => socket.protocol.cast_signed(),
            (abi::SOL_SOCKET, abi::SO_ERROR) => socket.error.take().map_or(0, Errno::number),
            (abi::SOL_SOCKET, abi::SO_ACCEPTCONN) => matches!(socket.state, State::Listening(_)).into(),
            (abi::SOL_SOCKET, abi::SO_RCVBUF) => number(socket.options.receive),
            (abi::SOL_SOCKET, abi::SO_SNDBUF) => number(socket.options.send),
            (abi::SOL_SOCKET, abi::SO_RCVLOWAT | abi::SO_SNDLOWAT) => 1,
            (abi::SOL_SOCKET, abi::SO_LINGER) => {
                let (on, seconds) = socket.options.linger;
                return Ok(Told::Bytes([i32::from(on), seconds].map(i32::to_ne_bytes).concat()));
            }
            (abi::SOL_SOCKET, abi::SO_PEERCRED) => {
                let nobody = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let Credentials { pid, uid, gid } = socket.peer_credentials.unwrap_or(nobody);
                return Ok(Told::Bytes([pid, uid, gid].map(u32::to_ne_bytes).concat()));
            }
            (abi::SOL_TCP, abi::TCP_CONGESTION) if socket.is_tcp() => {
                return Ok(Told::Bytes(b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec()));
            }
            _ => socket.option(level, name)?,
        }))
    }

    /// How long a call on a socket waits, in ns; `None` for ever.
    pub(crate) fn timeout_ns(&self, id: SocketId, sends: bool) -> Option<u64> {
        let options = &self.get(id).ok()?.options;
        if sends { options.send_ns } else { options.receive_ns }
    }

    /// Bytes to be received, for FIONREAD: of a stream all, else those of the first message. `EINVAL` while it listens.
    pub(crate) fn to_receive(&self, id: SocketId) -> Result<usize, Errno> {
        let socket = self.get(id)?;
        match (&socket.state, socket.kind) {
            (State::Listening(_), _) => Err(Errno::EINVAL),
            (_, Kind::Datagram) => Ok(socket.queue.first()),
            _ => Ok(socket.queue.bytes()),
        }
    }
}

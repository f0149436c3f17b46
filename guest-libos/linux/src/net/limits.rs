//! Every bound of sockets, in one table: what a hostile program can make the library OS hold.

/// Sockets at once, those that wait to be accepted included.
pub(crate) const MAX_SOCKETS: usize = 4096;
/// What a socket costs besides what was sent to it, in bytes, roughly.
pub(crate) const SOCKET_COST: usize = 768;
/// Bytes that a socket's buffer holds unless it is told otherwise (Linux's `rmem_default`).
pub(crate) const BUFFER: usize = 208 << 10;
/// Most bytes of a buffer that can be asked for (Linux's `rmem_max`); twice as many are given, as on Linux.
pub(crate) const MAX_BUFFER: usize = 208 << 10;
/// Least bytes of the buffer of what is received, and of what is sent, as on Linux.
pub(crate) const MIN_RECEIVE: usize = 2304;
pub(crate) const MIN_SEND: usize = 4608;
/// What a message costs besides its bytes, in bytes, roughly.
pub(crate) const MESSAGE_COST: usize = 192;
/// Bytes of a stream are kept in pieces of at least so many.
pub(crate) const PIECE: usize = 1024;
/// Bytes of a datagram: what UDP over IPv4 has room for.
pub(crate) const MAX_DATAGRAM: usize = 65_507;
/// Bytes of its buffer that a message over a Unix socket leaves free, as on Linux.
pub(crate) const MESSAGE_RESERVE: usize = 32;
/// Connections that wait to be accepted at one socket (Linux's `somaxconn`).
pub(crate) const MAX_BACKLOG: u32 = 4096;
/// Descriptors in one message (Linux's `SCM_MAX_FD`).
pub(crate) const MAX_RIGHTS: usize = 253;
/// Descriptors in messages that were not received yet.
pub(crate) const MAX_IN_FLIGHT: usize = 1024;
/// Ports that are given to sockets that do not ask for one (Linux's `ip_local_port_range`).
pub(crate) const EPHEMERAL: core::ops::Range<u16> = 32_768..61_000;

//! Tests of sockets: against the host's, against a model, and what they promise of themselves.
mod bounds;
mod calls;
mod differential;
mod host;
mod ours;
mod stream;

use crate::fs::{Fs, Stop, tests::new};
use linux_raw_sys::net as abi;
use rustix::net::{AddressFamily, SocketType};

/// Sockets that a test has at once.
const SLOTS: usize = 5;

/// Where sockets are bound and connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// An abstract name.
    Name(u8),
    /// A path.
    Path(u8),
    /// A port of an IPv4 address that the test has for itself.
    Port(u8),
    /// The same as an IPv6 address.
    Mapped(u8),
    /// A port of `::1`.
    V6(u8),
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Socket(usize, AddressFamily, SocketType),
    Pair(usize, usize, SocketType),
    Bind(usize, Place),
    Listen(usize, i32),
    Connect(usize, Place),
    Accept(usize, usize),
    Send(usize, usize),
    SendTo(usize, Place, usize),
    /// Bytes, and whether to look only.
    Receive(usize, usize, bool),
    Shutdown(usize, u32),
    Close(usize),
    Poll(usize),
    Error(usize),
    Name(usize, bool),
    Waiting(usize),
    Watch(usize, u32),
    Wait,
}

/// What a call gave.
#[derive(Debug, PartialEq, Eq)]
enum Gave {
    Nothing,
    Count(usize),
    /// Bytes that were received, and how long the message was.
    Bytes(Vec<u8>, usize),
    Events(u32),
    Error(i32),
    /// An address, without what the two sides call differently.
    Name(String),
    /// Which slots are ready for what.
    Ready(Vec<(u64, u32)>),
}

/// What is sent: no two have the same bytes.
fn bytes(count: usize, number: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + number * 31) as u8).collect()
}

const STREAM: u32 = abi::SOCK_STREAM;
const DATAGRAM: u32 = abi::SOCK_DGRAM;
const PACKETS: u32 = abi::SOCK_SEQPACKET;
const NONBLOCK: u32 = linux_raw_sys::general::O_NONBLOCK;

/// Two Unix sockets that are connected.
fn pair(fs: &mut Fs, kind: u32) -> [i32; 2] {
    fs.socketpair(abi::AF_UNIX, kind, 0).unwrap()
}

/// `struct sockaddr_in` of a port of 127.0.0.1.
fn v4(port: u16) -> Vec<u8> {
    inet([127, 0, 0, 1], port)
}

fn inet(ip: [u8; 4], port: u16) -> Vec<u8> {
    [&2_u16.to_ne_bytes()[..], &port.to_be_bytes(), &ip, &[0; 8]].concat()
}

fn inet6(ip: std::net::Ipv6Addr, port: u16) -> Vec<u8> {
    [&10_u16.to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &ip.octets(), &[0; 4]].concat()
}

fn unix(name: &[u8]) -> Vec<u8> {
    [&1_u16.to_ne_bytes()[..], name].concat()
}

fn receive(fs: &mut Fs, fd: i32, count: usize, flags: u32) -> Result<Vec<u8>, Stop> {
    let mut buffer = vec![0; count];
    let told = fs.receive(fd, &mut vec![&mut buffer[..]], flags, 0)?;
    fs.install_rights(told.rights, 0, 0);
    buffer.truncate(told.count);
    Ok(buffer)
}

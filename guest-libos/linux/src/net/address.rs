//! Addresses of sockets, as programs give them and are told them: `sockaddr_un`, `sockaddr_in`, `sockaddr_in6`.
use super::Family;
use crate::errno::Errno;
use alloc::{boxed::Box, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use linux_raw_sys::net as abi;

/// Bytes of the family.
const FAMILY: usize = 2;
/// Bytes of a path or name.
const PATH: usize = 108;
/// Bytes of `sockaddr_in`; of `sockaddr_in6` as it was first, and as it is.
const V4_BYTES: usize = 16;
const V6_LEAST: usize = 24;
const V6_BYTES: usize = 28;

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A path, or a name after a zero byte.
    Unix(Box<[u8]>),
    /// IPv4 addresses in IPv6 are IPv4 addresses here.
    Inet(SocketAddr),
}

/// An address as a program gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    /// `AF_UNSPEC`.
    Unspecified,
    /// A path, a name after a zero byte, or nothing at all.
    Unix(Box<[u8]>),
    /// `AF_INET`.
    V4(SocketAddr),
    /// `AF_INET6`.
    V6(SocketAddr),
    /// A family that there is not.
    Other,
}

impl Given {
    /// `EINVAL` where it is too short or too long for its family.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let (family, rest) = bytes.split_first_chunk::<FAMILY>().ok_or(Errno::EINVAL)?;
        match u32::from(u16::from_ne_bytes(*family)) {
            abi::AF_UNSPEC => Ok(Self::Unspecified),
            abi::AF_UNIX if rest.len() > PATH => Err(Errno::EINVAL),
            abi::AF_UNIX if rest.first() == Some(&0) => Ok(Self::Unix(rest.into())),
            abi::AF_UNIX => Ok(Self::Unix(rest.split(|byte| *byte == 0).next().unwrap_or_default().into())),
            abi::AF_INET if bytes.len() >= V4_BYTES => {
                let (port, ip) = (array(rest, 0)?, array::<4>(rest, 2)?);
                Ok(Self::V4(SocketAddr::from((ip, u16::from_be_bytes(port)))))
            }
            abi::AF_INET6 if bytes.len() >= V6_LEAST => {
                let (port, ip) = (array(rest, 0)?, array::<16>(rest, 6)?);
                let ip = Ipv6Addr::from(ip);
                let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
                Ok(Self::V6(SocketAddr::from((ip, u16::from_be_bytes(port)))))
            }
            abi::AF_INET | abi::AF_INET6 => Err(Errno::EINVAL),
            _ => Ok(Self::Other),
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Errno> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Errno::EINVAL)
}

impl Address {
    /// The bytes that a program is told by a socket of a family; of one that is nowhere, the family's nowhere.
    pub(crate) fn told(address: Option<&Self>, family: Family) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(V6_BYTES);
        bytes.extend((family.number() as u16).to_ne_bytes());
        match (address, family) {
            (Some(Self::Unix(name)), _) => {
                bytes.extend(&name[..]);
                if name.first() != Some(&0) {
                    bytes.push(0);
                }
            }
            (None, Family::Unix) => {}
            (Some(Self::Inet(at)), _) => put_inet(&mut bytes, *at, family),
            (None, _) => put_inet(&mut bytes, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), family),
        }
        bytes
    }
}

fn put_inet(bytes: &mut Vec<u8>, at: SocketAddr, family: Family) {
    bytes.extend(at.port().to_be_bytes());
    match (family, at.ip()) {
        (Family::Inet6, ip) => {
            let ip = match ip {
                IpAddr::V6(ip) => ip,
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv6Addr::UNSPECIFIED,
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            };
            // Flow and scope are zero.
            bytes.extend([0; 4]);
            bytes.extend(ip.octets());
            bytes.extend([0; 4]);
        }
        (_, IpAddr::V4(ip)) => {
            bytes.extend(ip.octets());
            bytes.extend([0; 8]);
        }
        // No socket of IPv4 has one.
        (_, IpAddr::V6(_)) => bytes.extend([0; 12]),
    }
}

/// Whether an address is in this VM; the wildcard is, as a destination.
pub(super) fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// Where a destination leads, the wildcard being this VM, and where it is reached from.
pub(super) fn route(to: IpAddr) -> (IpAddr, IpAddr) {
    match to {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()),
        IpAddr::V4(_) => (to, Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
    }
}

//! UDP over IPv4 over Ethernet, as far as a lossless cable with one neighbour needs it: no address resolution, no
//! fragments, no checksum of data that nothing can flip.

use crate::{nic, vreg};
use denali_abi::job::{PORT, UDP_HEADERS_BYTES};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// Sends a datagram, made of `parts` in order, to the gateway's job port.
pub(crate) fn send(parts: &[&[u8]; 3], urgent: bool) {
    let payload: usize = parts.iter().map(|part| part.len()).sum();
    let headers = headers(payload);
    nic::send(&[&headers, parts[0], parts[1], parts[2]], urgent);
}

fn headers(payload: usize) -> [u8; UDP_HEADERS_BYTES] {
    let registers = vreg::read();
    let mut headers = [0; UDP_HEADERS_BYTES];
    let (ethernet, rest) = headers.split_at_mut(ETHERNET);
    let (ip, udp) = rest.split_at_mut(IPV4);
    ethernet[..6].copy_from_slice(&registers.gateway_mac);
    ethernet[6..12].copy_from_slice(&registers.mac);
    ethernet[12..].copy_from_slice(&[0x08, 0x00]);
    // Version 4, five words of header; do not fragment; 64 hops; UDP.
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((IPV4 + UDP + payload) as u16).to_be_bytes());
    ip[6] = 0x40;
    (ip[8], ip[9]) = (64, 17);
    ip[12..16].copy_from_slice(&registers.ip);
    ip[16..20].copy_from_slice(&registers.gateway_ip);
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    udp[..2].copy_from_slice(&PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&((UDP + payload) as u16).to_be_bytes());
    headers
}

/// The Internet checksum (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks::<2>().0.iter();
    let sum = words.fold(0u32, |sum, word| sum + u32::from(u16::from_be_bytes(*word)));
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The payload of a datagram to the job port, in a frame from the gateway.
pub(crate) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let (headers, payload) = frame.split_at_checked(UDP_HEADERS_BYTES)?;
    let port = u16::from_be_bytes([headers[ETHERNET + IPV4 + 2], headers[ETHERNET + IPV4 + 3]]);
    (port == PORT).then_some(payload)
}

#[cfg(test)]
mod tests {
    /// The example header of RFC 1071's errata tradition: its checksum is b861 (with the field zero).
    #[test]
    fn checksum_of_a_known_header() {
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(super::checksum(&header), 0xb861);
    }
}

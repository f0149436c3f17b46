//! Frames and the datagrams in them. Formats by smoltcp; the frames are hostile.

use denali_abi::job::{HEADER_BYTES, KIND, PORT, UDP_HEADERS_BYTES};
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Address, Ipv4Packet, UdpPacket};

const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// The two ends of a VM's cable. Each VM has a link of its own, so the IP addresses may be the same on all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) vm_mac: [u8; 6],
    pub(crate) gateway_mac: [u8; 6],
}

/// The VM's IPv4 address.
pub(crate) const VM_IP: [u8; 4] = [10, 0, 0, 2];
/// The gateway's.
pub(crate) const GATEWAY_IP: [u8; 4] = [10, 0, 0, 1];

impl Link {
    /// A link for a VM: its Ethernet address is locally administered and made of its name.
    pub(crate) fn of(vm: u64) -> Self {
        let name = vm.to_le_bytes();
        Self { vm_mac: [2, name[0], name[1], name[2], name[3], name[4]], gateway_mac: [2, 0, 0, 0, 0, 1] }
    }

    /// The payload of a frame that carries a UDP datagram to the gateway's job port.
    pub(crate) fn datagram<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.dst_addr().0 != self.gateway_mac || ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let whole = !ip.more_frags() && ip.frag_offset() == 0;
        if ip.dst_addr() != Ipv4Address::from(GATEWAY_IP) || ip.next_header() != IpProtocol::Udp || !whole {
            return None;
        }
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        (udp.dst_port() == PORT).then(|| udp.payload())
    }

    /// Begins a message of `kind` in `frame`: room for the headers below it, and the message's own header.
    pub(crate) fn start_message(&self, frame: &mut Vec<u8>, kind: u8) {
        frame.clear();
        frame.resize(UDP_HEADERS_BYTES + HEADER_BYTES, 0);
        frame[UDP_HEADERS_BYTES + KIND] = kind;
    }

    /// Writes the Ethernet, IPv4 and UDP headers before the message in `frame`, which fits a frame.
    pub(crate) fn finish(&self, frame: &mut [u8]) {
        let mut ethernet = EthernetFrame::new_unchecked(frame);
        ethernet.set_src_addr(EthernetAddress(self.gateway_mac));
        ethernet.set_dst_addr(EthernetAddress(self.vm_mac));
        ethernet.set_ethertype(EthernetProtocol::Ipv4);
        let payload = ethernet.payload_mut();
        let length = payload.len() as u16;
        let mut ip = Ipv4Packet::new_unchecked(payload);
        ip.set_version(4);
        ip.set_header_len(IPV4 as u8);
        ip.set_total_len(length);
        ip.set_dont_frag(true);
        ip.set_hop_limit(64);
        ip.set_next_header(IpProtocol::Udp);
        ip.set_src_addr(Ipv4Address::from(GATEWAY_IP));
        ip.set_dst_addr(Ipv4Address::from(VM_IP));
        ip.fill_checksum();
        let mut udp = UdpPacket::new_unchecked(ip.payload_mut());
        udp.set_src_port(PORT);
        udp.set_dst_port(PORT);
        udp.set_len(length - IPV4 as u16);
    }
}

const _: () = assert!(ETHERNET + IPV4 + 8 == UDP_HEADERS_BYTES);

#[cfg(test)]
mod tests;

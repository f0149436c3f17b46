use super::{GATEWAY_IP, Link, VM_IP};
use denali_abi::job::{HEADER_BYTES, KIND, OUTPUT, UDP_HEADERS_BYTES};
use denali_abi::ring::FRAME_BYTES_MAX;
use proptest::prelude::*;

/// A frame from the VM: what the gateway would send, with the two ends exchanged.
fn from_vm(link: &Link, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    link.start_message(&mut frame, OUTPUT);
    frame.extend(payload);
    link.finish(&mut frame);
    frame[..6].copy_from_slice(&link.gateway_mac);
    frame[6..12].copy_from_slice(&link.vm_mac);
    frame[26..30].copy_from_slice(&VM_IP);
    frame[30..34].copy_from_slice(&GATEWAY_IP);
    frame
}

#[test]
fn a_datagram_comes_back_whole() {
    let link = Link::of(7);
    for bytes in [0, 1, 1500, FRAME_BYTES_MAX - UDP_HEADERS_BYTES - HEADER_BYTES] {
        let payload = vec![0xab; bytes];
        let frame = from_vm(&link, &payload);
        let datagram = link.datagram(&frame).expect("a datagram to the gateway");
        assert_eq!((datagram[KIND], &datagram[HEADER_BYTES..]), (OUTPUT, payload.as_slice()));
    }
}

#[test]
fn frames_to_others_fall_off_the_cable() {
    let link = Link::of(7);
    let frame = from_vm(&link, b"payload");
    // Ethernet destination and type; IP version, fragment, protocol and destination; UDP destination.
    for at in [0, 5, 12, 13, 14, 20, 21, 23, 30, 33, 36, 37] {
        let mut other = frame.clone();
        other[at] ^= 0x21;
        assert_eq!(link.datagram(&other), None, "byte {at}");
    }
}

#[test]
fn lengths_that_can_not_be_are_no_datagram() {
    let link = Link::of(7);
    let frame = from_vm(&link, b"payload");
    for length in 0..frame.len() {
        assert_eq!(link.datagram(&frame[..length]), None, "cut at {length}");
    }
    let with = |at: usize, value: u16| {
        let mut frame = frame.clone();
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        link.datagram(&frame).map(<[u8]>::len)
    };
    assert_eq!((with(16, 0), with(16, u16::MAX), with(38, 0), with(38, u16::MAX)), (None, None, None, None));
    assert_eq!(with(38, 8), Some(0), "a shorter datagram in a longer packet is padding");
}

#[test]
fn links_differ_by_their_vm() {
    assert_ne!(Link::of(1).vm_mac, Link::of(2).vm_mac);
    assert_eq!(Link::of(u64::MAX).vm_mac[0] & 3, 2, "locally administered, not multicast");
}

proptest! {
    #[test]
    fn hostile_frames_are_taken_in_peace(
        changes in prop::collection::vec((0usize..60, any::<u8>()), 0..12),
        length in 0usize..200,
    ) {
        let link = Link::of(7);
        let mut frame = from_vm(&link, &[1; 100]);
        for (at, byte) in changes {
            frame[at] = byte;
        }
        frame.truncate(length);
        if let Some(datagram) = link.datagram(&frame) {
            prop_assert!(datagram.len() + UDP_HEADERS_BYTES <= frame.len());
        }
    }

    #[test]
    fn any_bytes_are_taken_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        prop_assert_eq!(Link::of(7).datagram(&bytes), None);
    }
}

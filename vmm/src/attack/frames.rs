//! Frames on the transmit ring: good ones, and all that can be wrong with them.

use super::source::Source;
use crate::gateway::{GATEWAY_IP, VM_IP};
use denali_abi::job::{HEADER_BYTES, KIND, NAME_BYTES, OUTPUT, PORT, UDP_HEADERS_BYTES};

/// Some records, and the head after the last.
pub(super) fn frames(source: &mut Source<'_>) -> (Vec<u8>, u64) {
    let mut ring = Vec::new();
    for _ in 0..1 + source.below(4) {
        ring.extend(record(source));
    }
    let head = ring.len() as u64;
    (ring, head)
}

fn record(source: &mut Source<'_>) -> Vec<u8> {
    let count = source.below(120);
    let mut frame = frame(source, count);
    // Something in it is otherwise than it should be.
    for _ in 0..source.below(3) {
        let at = source.below(frame.len().min(256));
        frame[at] = source.byte();
    }
    let bytes = if source.once_in(6) { source.value() as u32 } else { frame.len() as u32 };
    let mut record = bytes.to_le_bytes().to_vec();
    record.extend([0; 4]);
    record.extend(frame);
    record.resize(record.len().next_multiple_of(8), 0);
    record
}

fn frame(source: &mut Source<'_>, payload: usize) -> Vec<u8> {
    let kind = OUTPUT + source.byte() % 5;
    let name = if source.once_in(2) { source.bytes(3) } else { b"a/b".to_vec() };
    let message = HEADER_BYTES + name.len() + payload;
    let ip_bytes = (UDP_HEADERS_BYTES - 14 + message) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0];
    frame.extend(ip_bytes.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([VM_IP, GATEWAY_IP].concat());
    frame.extend([PORT, PORT, ip_bytes - 20, 0].map(u16::to_be_bytes).concat());
    let header = frame.len();
    frame.resize(header + HEADER_BYTES, 0);
    frame[header + KIND] = kind;
    // Only files have a name; sometimes others claim one.
    if kind == OUTPUT + 2 || source.once_in(8) {
        frame[header + NAME_BYTES] = name.len() as u8;
    }
    frame.extend(name);
    frame.extend(source.bytes(payload));
    frame
}

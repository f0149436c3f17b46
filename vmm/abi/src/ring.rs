//! The NIC's two rings: each a byte ring of frames with one producer and one consumer.
//!
//! Positions are byte counts since the VM's start that never wrap; a position's place in the ring is `position &
//! (ring_bytes - 1)`. `head` is where the producer writes next, `tail` where the consumer reads next. The producer
//! writes the record, then publishes `head` (release); the consumer reads `head` (acquire), then the record, then
//! publishes `tail` (release).
//!
//! A record is a header of eight bytes (frame length as `u32`, then four zero bytes), the frame, and padding to a
//! multiple of eight. The header never straddles the ring's end; the frame may. The link is lossless and in order: a
//! full ring blocks its producer, and nothing is ever dropped.
//!
//! | ring | producer publishes | consumer publishes |
//! |---|---|---|
//! | transmit | guest: [`crate::registers::Control::transmit_head`] | VMM: [`crate::registers::VirtualRegisters::transmit_tail`] |
//! | receive | VMM: [`crate::registers::VirtualRegisters::receive_head`] | guest: [`crate::registers::Control::receive_tail`] |

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: u64 = 8;

/// Records start at multiples of this.
pub const RECORD_ALIGN: u64 = 8;

/// Longest Ethernet frame, without check sequence, in bytes.
pub const FRAME_BYTES_MAX: usize = 0xf000;

/// Shortest Ethernet frame: the header.
pub const FRAME_BYTES_MIN: usize = 14;

/// Longest IP packet in a frame, in bytes.
pub const MTU: usize = FRAME_BYTES_MAX - FRAME_BYTES_MIN;

/// Bytes of the transmit ring: four of the longest frames.
pub const TRANSMIT_BYTES: u64 = 256 << 10;

/// Smallest receive ring, in bytes. The VMM gives a larger one where the job's input is larger, so that all of it is
/// there before the VM first runs; the size is in the virtual registers.
pub const RECEIVE_BYTES_MIN: u64 = 256 << 10;

const _: () = {
    assert!(TRANSMIT_BYTES.is_power_of_two() && RECEIVE_BYTES_MIN.is_power_of_two());
    assert!(FRAME_BYTES_MAX as u64 + RECORD_HEADER_BYTES <= TRANSMIT_BYTES / 2);
    assert!(MTU <= 65_535, "an IPv4 packet");
};

//! The NIC driver: this guest's end of the two rings, see [`denali_abi::ring`].

use crate::{cell::VmCell, instruction, vreg};
use core::{ptr, sync::atomic::Ordering};
use denali_abi::{
    instruction::IDLE_FOREVER,
    ring::{FRAME_BYTES_MAX, RECORD_ALIGN, RECORD_HEADER_BYTES},
};

struct Ring {
    start: *mut u8,
    bytes: u64,
    /// This side's position.
    position: u64,
}

struct Nic {
    transmit: Ring,
    receive: Ring,
}

static NIC: VmCell<Option<Nic>> = VmCell::new(None);

impl Nic {
    fn new() -> Self {
        let registers = vreg::read();
        let ring = |start: u64, bytes| Ring { start: start as *mut u8, bytes, position: 0 };
        Self {
            transmit: ring(registers.transmit_ring, registers.transmit_bytes),
            receive: ring(registers.receive_ring, registers.receive_bytes),
        }
    }
}

impl Ring {
    /// Splits `length` bytes at `position` where the ring ends: the address of the first part and its length.
    fn place(&self, position: u64, length: usize) -> (*mut u8, usize) {
        let place = (position & (self.bytes - 1)) as usize;
        // SAFETY: `place` is below the ring's size, so the address lies in the ring.
        (unsafe { self.start.add(place) }, length.min(self.bytes as usize - place))
    }

    fn write(&mut self, position: u64, data: &[u8]) {
        let (address, first) = self.place(position, data.len());
        // SAFETY: `first` bytes from `address` lie in the ring, which is this driver's alone to write up to the head
        // that it publishes, and apart from `data`.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), address, first) };
        let rest = &data[first..];
        // SAFETY: the rest is shorter than the ring, since callers never write more than it holds; as above.
        unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), self.start, rest.len()) };
    }

    fn read(&self, position: u64, out: &mut [u8]) {
        let (address, first) = self.place(position, out.len());
        let (head, rest) = out.split_at_mut(first);
        // SAFETY: `first` bytes from `address` lie in the ring, below the head that the VMM published, where it writes
        // no more until the tail passes them.
        unsafe { ptr::copy_nonoverlapping(address, head.as_mut_ptr(), first) };
        // SAFETY: as above, from the ring's start.
        unsafe { ptr::copy_nonoverlapping(self.start, rest.as_mut_ptr(), rest.len()) };
    }
}

fn record_bytes(frame: usize) -> u64 {
    (RECORD_HEADER_BYTES + frame as u64).next_multiple_of(RECORD_ALIGN)
}

/// Sends a frame, made of `parts` in order, at most [`FRAME_BYTES_MAX`] bytes together. Waits while the ring is full.
///
/// The VMM is kicked only when the ring is half full or the frame is `urgent`: it looks by itself at every exit, and
/// from time to time.
pub fn send(parts: &[&[u8]], urgent: bool) {
    let frame: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(frame <= FRAME_BYTES_MAX);
    let mut nic = NIC.borrow();
    let ring = &mut nic.get_or_insert_with(Nic::new).transmit;
    let used = || ring.position - vreg::transmit_tail().load(Ordering::Acquire);
    while ring.bytes - used() < record_bytes(frame) {
        // The VMM takes all that is there at every exit.
        instruction::idle(IDLE_FOREVER);
    }
    let mut header = [0; RECORD_HEADER_BYTES as usize];
    header[..4].copy_from_slice(&(frame as u32).to_le_bytes());
    ring.write(ring.position, &header);
    let mut position = ring.position + RECORD_HEADER_BYTES;
    for part in parts {
        ring.write(position, part);
        position += part.len() as u64;
    }
    ring.position += record_bytes(frame);
    vreg::transmit_head().store(ring.position, Ordering::SeqCst);
    let half_full = ring.position - vreg::transmit_tail().load(Ordering::Acquire) > ring.bytes / 2;
    if (urgent || half_full) && vreg::kick_wanted().load(Ordering::SeqCst) != 0 {
        instruction::kick();
    }
}

/// Receives the next frame into `frame` and gives its length; `None` when there is none. A frame longer than `frame` is
/// cut.
pub fn receive(frame: &mut [u8]) -> Option<usize> {
    let mut nic = NIC.borrow();
    let ring = &mut nic.get_or_insert_with(Nic::new).receive;
    if vreg::receive_head().load(Ordering::Acquire) == ring.position {
        return None;
    }
    let mut header = [0; 4];
    ring.read(ring.position, &mut header);
    let bytes = u32::from_le_bytes(header) as usize;
    let kept = bytes.min(frame.len());
    ring.read(ring.position + RECORD_HEADER_BYTES, &mut frame[..kept]);
    ring.position += record_bytes(bytes);
    vreg::receive_tail().store(ring.position, Ordering::Release);
    Some(kept)
}

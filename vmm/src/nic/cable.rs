//! The virtual cable: the VMM's end of both rings, with the registers through which the two sides tell each other how
//! far they are.

use super::ring::{Consumer, Producer, RingError};
use crate::kvm::GuestMemory;
use denali_abi::{
    memory::{CONTROL, REGISTERS},
    registers::{Control, VirtualRegisters},
};
use std::{mem::offset_of, sync::atomic::Ordering};
use vm_memory::{Bytes, VolatileSlice};

/// Where the rings lie in guest memory: the VMM's own choice, so always in range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rings {
    pub(crate) transmit: u64,
    pub(crate) transmit_bytes: u64,
    pub(crate) receive: u64,
    pub(crate) receive_bytes: u64,
}

impl Rings {
    /// Where they end: the heap follows.
    pub(crate) fn end(&self) -> u64 {
        self.receive + self.receive_bytes
    }
}

/// The VMM's end of one VM's cable. The memory that the rings lie in is given at each call: a VM that waits on disk has none.
#[derive(Debug)]
pub(crate) struct Cable {
    rings: Rings,
    transmit: Consumer,
    receive: Producer,
}

impl Cable {
    pub(crate) fn new(rings: Rings) -> Self {
        Self { rings, transmit: Consumer::default(), receive: Producer::default() }
    }

    /// Where the rings lie.
    pub(crate) fn rings(&self) -> Rings {
        self.rings
    }

    /// Takes the next frame that the guest sent. `false` when there is none.
    pub(crate) fn take(&mut self, memory: &GuestMemory, frame: &mut Vec<u8>) -> Result<bool, RingError> {
        let head = load(memory, CONTROL + offset_of!(Control, transmit_head) as u64);
        let ring = ring(memory, self.rings.transmit, self.rings.transmit_bytes);
        let taken = self.transmit.take(&ring, head, frame)?;
        store(memory, REGISTERS + offset_of!(VirtualRegisters, transmit_tail) as u64, self.transmit.tail());
        Ok(taken)
    }

    /// How far frames were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.transmit.tail()
    }

    /// The longest frame that can be put now.
    pub(crate) fn room(&mut self, memory: &GuestMemory) -> Result<usize, RingError> {
        let tail = load(memory, CONTROL + offset_of!(Control, receive_tail) as u64);
        self.receive.room(&ring(memory, self.rings.receive, self.rings.receive_bytes), tail)
    }

    /// Puts a frame no longer than [`Cable::room`] said.
    pub(crate) fn put(&mut self, memory: &GuestMemory, frame: &[u8]) {
        self.receive.put(&ring(memory, self.rings.receive, self.rings.receive_bytes), frame);
        store(memory, REGISTERS + offset_of!(VirtualRegisters, receive_head) as u64, self.receive.head());
    }

    /// How far frames were put.
    pub(crate) fn received(&self) -> u64 {
        self.receive.head()
    }
}

/// Whether the guest has put or taken anything yet.
pub(crate) fn is_untouched(memory: &GuestMemory) -> bool {
    let control = [offset_of!(Control, transmit_head), offset_of!(Control, receive_tail)];
    control.iter().all(|offset| load(memory, CONTROL + *offset as u64) == 0)
}

// Here and below: the address is a constant inside of every guest's memory, so the access can't fail.
fn load(memory: &GuestMemory, address: u64) -> u64 {
    memory.ram().load(address as usize, Ordering::SeqCst).unwrap_or_default()
}

fn store(memory: &GuestMemory, address: u64, value: u64) {
    let _ = memory.ram().store(value, address as usize, Ordering::SeqCst);
}

fn ring(memory: &GuestMemory, start: u64, bytes: u64) -> VolatileSlice<'_> {
    let ring = memory.ram().subslice(start as usize, bytes as usize);
    ring.unwrap_or_else(|_| unreachable!("the VMM placed the rings inside of guest memory"))
}

//! The VMM's end of a ring: a consumer for the transmit ring, a producer for the receive ring.
//!
//! The positions that count are kept here, never read back from guest memory. What the guest publishes is read once,
//! checked, then used; frames are copied out once before anyone looks at them. See [`denali_abi::ring`] for the format.

use denali_abi::ring::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, RECORD_ALIGN, RECORD_HEADER_BYTES};
use vm_memory::{Bytes, VolatileSlice};

/// What a guest's ring holds that cannot be. The guest is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum RingError {
    /// A position that moved backwards, or further than the ring is long.
    #[error("position {position:#x} is not within {low:#x} to {high:#x}")]
    Position {
        /// What the guest published.
        position: u64,
        /// Lowest position possible.
        low: u64,
        /// Highest position possible.
        high: u64,
    },
    /// A position between records.
    #[error("position {position:#x} is not a multiple of {RECORD_ALIGN}")]
    Misaligned {
        /// What the guest published.
        position: u64,
    },
    /// A frame length out of range, or reaching beyond what was published.
    #[error(
        "a frame of {bytes} bytes at position {position:#x}; allowed are {FRAME_BYTES_MIN} to {FRAME_BYTES_MAX}, and {available} were published"
    )]
    Frame {
        /// The length in the record.
        bytes: u64,
        /// Where the record starts.
        position: u64,
        /// Published bytes from there on, without the header.
        available: u64,
    },
}

/// Bytes that a frame takes in a ring.
fn record_bytes(frame: u64) -> u64 {
    (RECORD_HEADER_BYTES + frame).next_multiple_of(RECORD_ALIGN)
}

/// What a ring lies in. The guest may write to it at any time, so nothing is read twice.
///
/// Callers keep every place and length within the ring.
trait RingMemory {
    /// Bytes: a power of two.
    fn length(&self) -> usize;
    fn read(&self, place: usize, out: &mut [u8]);
    fn write(&self, place: usize, data: &[u8]);
}

impl RingMemory for VolatileSlice<'_> {
    fn length(&self) -> usize {
        self.len()
    }

    fn read(&self, place: usize, out: &mut [u8]) {
        let _ = self.read_slice(out, place);
    }

    fn write(&self, place: usize, data: &[u8]) {
        let _ = self.write_slice(data, place);
    }
}

/// Copies between a buffer and a ring, around its end where need be.
struct Memory<'a, M>(&'a M);

impl<M: RingMemory> Memory<'_, M> {
    fn split(&self, position: u64, length: usize) -> (usize, usize) {
        let place = (position & (self.0.length() as u64 - 1)) as usize;
        (place, length.min(self.0.length() - place))
    }

    fn read(&self, position: u64, out: &mut [u8]) {
        let (place, first) = self.split(position, out.len());
        let (head, rest) = out.split_at_mut(first);
        self.0.read(place, head);
        self.0.read(0, rest);
    }

    fn write(&self, position: u64, data: &[u8]) {
        let (place, first) = self.split(position, data.len());
        let (head, rest) = data.split_at(first);
        self.0.write(place, head);
        self.0.write(0, rest);
    }
}

/// The transmit ring as the VMM consumes it.
#[derive(Debug, Default)]
pub struct Consumer {
    tail: u64,
}

impl Consumer {
    /// How far frames were taken.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Takes the next frame below `head`, the position that the guest published, into `frame`. `false` when there is
    /// none.
    ///
    /// # Errors
    /// [`RingError`] when the guest's ring holds what cannot be.
    pub fn take(&mut self, ring: &VolatileSlice<'_>, head: u64, frame: &mut Vec<u8>) -> Result<bool, RingError> {
        self.take_from(ring, head, frame)
    }

    fn take_from(&mut self, ring: &impl RingMemory, head: u64, frame: &mut Vec<u8>) -> Result<bool, RingError> {
        let high = self.tail.saturating_add(ring.length() as u64);
        if head < self.tail || head > high {
            return Err(RingError::Position { position: head, low: self.tail, high });
        }
        if !head.is_multiple_of(RECORD_ALIGN) {
            return Err(RingError::Misaligned { position: head });
        }
        if head == self.tail {
            return Ok(false);
        }
        let memory = Memory(ring);
        let mut header = [0; 4];
        memory.read(self.tail, &mut header);
        let bytes = u64::from(u32::from_le_bytes(header));
        let available = head - self.tail - RECORD_HEADER_BYTES;
        let fits = (FRAME_BYTES_MIN as u64..=FRAME_BYTES_MAX as u64).contains(&bytes);
        if !fits || record_bytes(bytes) - RECORD_HEADER_BYTES > available {
            return Err(RingError::Frame { bytes, position: self.tail, available });
        }
        frame.resize(bytes as usize, 0);
        memory.read(self.tail + RECORD_HEADER_BYTES, frame);
        self.tail += record_bytes(bytes);
        Ok(true)
    }
}

/// The receive ring as the VMM fills it.
#[derive(Debug, Default)]
pub struct Producer {
    head: u64,
    tail: u64,
}

impl Producer {
    /// How far frames were put.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The longest frame that fits now, given `tail`, the position that the guest published.
    ///
    /// # Errors
    /// [`RingError`] when that position cannot be.
    pub fn room(&mut self, ring: &VolatileSlice<'_>, tail: u64) -> Result<usize, RingError> {
        self.room_in(ring, tail)
    }

    fn room_in(&mut self, ring: &impl RingMemory, tail: u64) -> Result<usize, RingError> {
        if tail < self.tail || tail > self.head {
            return Err(RingError::Position { position: tail, low: self.tail, high: self.head });
        }
        if !tail.is_multiple_of(RECORD_ALIGN) {
            return Err(RingError::Misaligned { position: tail });
        }
        self.tail = tail;
        let free = ring.length() as u64 - (self.head - tail);
        Ok(free.saturating_sub(RECORD_HEADER_BYTES).min(FRAME_BYTES_MAX as u64) as usize)
    }

    /// Puts a frame, no longer than [`Producer::room`] just said. The caller publishes [`Producer::head`] after it.
    pub fn put(&mut self, ring: &VolatileSlice<'_>, frame: &[u8]) {
        self.put_into(ring, frame);
    }

    fn put_into(&mut self, ring: &impl RingMemory, frame: &[u8]) {
        let memory = Memory(ring);
        let mut header = [0; RECORD_HEADER_BYTES as usize];
        header[..4].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        memory.write(self.head, &header);
        memory.write(self.head + RECORD_HEADER_BYTES, frame);
        self.head += record_bytes(frame.len() as u64);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

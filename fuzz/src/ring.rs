//! The rings of a NIC, whose guest's side is hostile.

use denali_vmm::nic::ring::{Consumer, Producer};
use vm_memory::VolatileSlice;

/// Longest and shortest frame, and the multiple of records, as the contract says.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=0xf000;
const ALIGN: u64 = 8;

/// Plays a guest: the first byte chooses the size of the ring, then come steps, of one byte for what to do and eight for a
/// position to publish. The bytes of `data` are also the ring's contents.
pub fn ring(data: &[u8]) {
    let Some((size, steps)) = data.split_first() else { return };
    let ring_bytes = 64usize << (size % 12);
    let mut memory = vec![0; ring_bytes];
    memory.chunks_mut(data.len()).for_each(|part| part.copy_from_slice(&data[..part.len()]));
    let (mut guest, mut frame) = (Guest::default(), Vec::new());
    for step in steps.chunks_exact(9) {
        let published = u64::from_le_bytes([step[1], step[2], step[3], step[4], step[5], step[6], step[7], step[8]]);
        match step[0] % 5 {
            0 => guest.send(&mut memory, published, &mut frame),
            // Positions near the true one, which random words never are.
            1 => guest.send(
                &mut memory,
                guest.consumer.tail().wrapping_add(published % (2 * ring_bytes as u64)),
                &mut frame,
            ),
            2 => guest.receive(&mut memory, published),
            3 => guest.receive(&mut memory, guest.producer.head().wrapping_sub(published % (2 * ring_bytes as u64))),
            // The guest writes its memory whenever it likes.
            _ => memory[published as usize % ring_bytes] = step[8],
        }
    }
}

#[derive(Default)]
struct Guest {
    consumer: Consumer,
    producer: Producer,
    /// The last position that the producer believed.
    tail: u64,
}

impl Guest {
    fn send(&mut self, memory: &mut [u8], head: u64, frame: &mut Vec<u8>) {
        let before = self.consumer.tail();
        let ring_bytes = memory.len() as u64;
        match self.consumer.take(&VolatileSlice::from(memory), head, frame) {
            Ok(true) => {
                assert!(FRAME_BYTES.contains(&frame.len()));
                assert_eq!(self.consumer.tail(), before + (8 + frame.len() as u64).next_multiple_of(ALIGN));
                assert!(self.consumer.tail() <= head && head - before <= ring_bytes);
            }
            Ok(false) => assert_eq!((before, self.consumer.tail()), (head, head)),
            Err(error) => {
                assert_eq!(self.consumer.tail(), before);
                assert_ne!(error.to_string(), "");
            }
        }
    }

    fn receive(&mut self, memory: &mut [u8], tail: u64) {
        let (head, ring_bytes) = (self.producer.head(), memory.len() as u64);
        let ring = VolatileSlice::from(memory);
        match self.producer.room(&ring, tail) {
            Ok(room) => {
                assert!((self.tail..=head).contains(&tail) && tail.is_multiple_of(ALIGN));
                assert!(room <= *FRAME_BYTES.end());
                self.tail = tail;
                if room > 0 {
                    self.producer.put(&ring, &vec![0x5a; room]);
                    assert!(self.producer.head() > head && self.producer.head() - tail <= ring_bytes);
                }
            }
            Err(error) => {
                assert_eq!(self.producer.head(), head);
                assert_ne!(error.to_string(), "");
            }
        }
    }
}

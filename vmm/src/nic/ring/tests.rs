use super::{Consumer, Producer, RingError};
use denali_abi::ring::{FRAME_BYTES_MAX, FRAME_BYTES_MIN};
use proptest::prelude::*;
use std::collections::VecDeque;
use vm_memory::VolatileSlice;

const RING_BYTES: usize = 128 * 1024;

fn slice(memory: &mut [u8]) -> VolatileSlice<'_> {
    VolatileSlice::from(memory)
}

/// A guest that keeps the rules, in as few words as the format allows.
struct Guest {
    position: u64,
}

impl Guest {
    fn send(&mut self, memory: &mut [u8], frame: &[u8]) {
        let header = (frame.len() as u64).to_le_bytes();
        for (n, byte) in header.iter().chain(frame).enumerate() {
            memory[(self.position as usize + n) % RING_BYTES] = *byte;
        }
        self.position += (8 + frame.len() as u64).next_multiple_of(8);
    }

    fn receive(&mut self, memory: &[u8]) -> Vec<u8> {
        let byte = |n: usize| memory[(self.position as usize + n) % RING_BYTES];
        let length = u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]) as usize;
        let frame = (0..length).map(|n| byte(8 + n)).collect();
        self.position += (8 + length as u64).next_multiple_of(8);
        frame
    }
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let length = prop_oneof![
        FRAME_BYTES_MIN..=80,
        FRAME_BYTES_MIN..=FRAME_BYTES_MAX,
        Just(FRAME_BYTES_MIN),
        Just(FRAME_BYTES_MAX)
    ];
    let frame = (length, any::<u8>())
        .prop_map(|(length, seed)| (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect());
    prop::collection::vec(frame, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a guest sends arrives whole and in order, many times around the ring.
    #[test]
    fn sent_frames_are_taken_in_order(frames in frames(), batch in 1usize..6) {
        let mut memory = vec![0xaa; RING_BYTES];
        let (mut guest, mut consumer, mut taken) = (Guest { position: 0 }, Consumer::default(), Vec::new());
        let mut sent = VecDeque::new();
        for chunk in frames.chunks(batch) {
            for frame in chunk {
                let needed = (8 + frame.len() as u64).next_multiple_of(8);
                if guest.position + needed - consumer.tail() > RING_BYTES as u64 {
                    break;
                }
                guest.send(&mut memory, frame);
                sent.push_back(frame.clone());
            }
            while consumer.take(&slice(&mut memory), guest.position, &mut taken)? {
                prop_assert_eq!(Some(taken.clone()), sent.pop_front());
            }
            prop_assert!(sent.is_empty());
            prop_assert_eq!(consumer.tail(), guest.position);
        }
    }

    /// What is put arrives whole and in order, and the room is exactly what is free.
    #[test]
    fn put_frames_are_received_in_order(frames in frames(), lag in 0usize..3) {
        let mut memory = vec![0x55; RING_BYTES];
        let (mut guest, mut producer) = (Guest { position: 0 }, Producer::default());
        let mut expected = VecDeque::new();
        for frame in frames {
            while producer.room(&slice(&mut memory), guest.position)? < frame.len() {
                prop_assert_eq!(Some(guest.receive(&memory)), expected.pop_front());
            }
            let free = RING_BYTES as u64 - (producer.head() - guest.position);
            prop_assert_eq!(producer.room(&slice(&mut memory), guest.position)?, (free as usize - 8).min(FRAME_BYTES_MAX));
            producer.put(&slice(&mut memory), &frame);
            expected.push_back(frame);
            while expected.len() > lag {
                prop_assert_eq!(Some(guest.receive(&memory)), expected.pop_front());
            }
        }
        for frame in expected {
            prop_assert_eq!(guest.receive(&memory), frame);
        }
    }

    /// Whatever the ring holds and whatever is published: no panic, no frame out of bounds, no position that moves back.
    #[test]
    fn no_lie_misleads_the_consumer(
        memory in prop::collection::vec(any::<u8>(), 512),
        heads in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..2048], 1..40),
    ) {
        let mut memory = memory;
        let (mut consumer, mut frame) = (Consumer::default(), Vec::new());
        for head in heads {
            let before = consumer.tail();
            match consumer.take(&slice(&mut memory), head, &mut frame) {
                Ok(true) => {
                    prop_assert!((FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len()));
                    prop_assert_eq!(consumer.tail(), before + (8 + frame.len() as u64).next_multiple_of(8));
                    prop_assert!(consumer.tail() <= head);
                }
                Ok(false) => prop_assert_eq!((before, consumer.tail()), (head, head)),
                Err(_) => prop_assert_eq!(consumer.tail(), before),
            }
        }
    }

    #[test]
    fn no_lie_misleads_the_producer(tails in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..4096], 1..40)) {
        let mut memory = vec![0; 512];
        let (mut producer, mut seen) = (Producer::default(), 0);
        for tail in tails {
            let head = producer.head();
            match producer.room(&slice(&mut memory), tail) {
                Ok(room) => {
                    prop_assert!((seen..=head).contains(&tail) && tail.is_multiple_of(8));
                    prop_assert!(head - tail + 8 + room as u64 <= 512 || room == 0);
                    seen = tail;
                    if room > 0 {
                        producer.put(&slice(&mut memory), &vec![1; room]);
                        prop_assert!(producer.head() - tail <= 512);
                    }
                }
                Err(_) => prop_assert!(tail < seen || tail > head || !tail.is_multiple_of(8)),
            }
        }
    }
}

fn take(memory: &mut [u8], consumer: &mut Consumer, head: u64) -> Result<bool, RingError> {
    consumer.take(&slice(memory), head, &mut Vec::new())
}

#[test]
fn positions_that_can_not_be_are_named() {
    let mut memory = vec![0; RING_BYTES];
    let ring_bytes = RING_BYTES as u64;
    let mut consumer = Consumer::default();
    Guest { position: 0 }.send(&mut memory, &[1; 56]);
    assert_eq!(take(&mut memory, &mut consumer, 64), Ok(true));

    let high = 64 + ring_bytes;
    for position in [0, 56, 63, high + 1, high + 8, u64::MAX] {
        let error = RingError::Position { position, low: 64, high };
        assert_eq!(take(&mut memory, &mut consumer, position), Err(error), "{position}");
    }
    for position in [65, 71, high - 1] {
        assert_eq!(take(&mut memory, &mut consumer, position), Err(RingError::Misaligned { position }));
    }
    assert_eq!(take(&mut memory, &mut consumer, 64), Ok(false));
}

#[test]
fn frame_lengths_that_can_not_be_are_named() {
    let mut memory = vec![0; RING_BYTES];
    for (bytes, head) in [
        (0u32, 64),
        (FRAME_BYTES_MIN as u32 - 1, 64),
        (FRAME_BYTES_MAX as u32 + 1, RING_BYTES as u64),
        (u32::MAX, RING_BYTES as u64),
        (57, 64),
        (49, 56),
        (14, 8),
    ] {
        memory[..4].copy_from_slice(&bytes.to_le_bytes());
        let error = RingError::Frame { bytes: bytes.into(), position: 0, available: head - 8 };
        assert_eq!(take(&mut memory, &mut Consumer::default(), head), Err(error));
    }
    memory[..4].copy_from_slice(&56u32.to_le_bytes());
    assert_eq!(take(&mut memory, &mut Consumer::default(), 64), Ok(true));
}

#[test]
fn a_full_ring_has_no_room() {
    let mut memory = vec![0; 512];
    let mut producer = Producer::default();
    producer.put(&slice(&mut memory), &[1; 496]);
    assert_eq!(producer.room(&slice(&mut memory), 0), Ok(0));
    producer.put(&slice(&mut memory), &[]);
    assert_eq!((producer.head(), producer.room(&slice(&mut memory), 0)), (512, Ok(0)));
    assert_eq!(producer.room(&slice(&mut memory), 504), Ok(496));
    let error = RingError::Position { position: 496, low: 504, high: 512 };
    assert_eq!(producer.room(&slice(&mut memory), 496), Err(error));
}

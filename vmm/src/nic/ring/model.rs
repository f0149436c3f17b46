//! Both sides of a ring at the same time, in all orders that the memory model allows, stale reads among them (loom). The
//! VMM's side is the real one; the guest's is in as few words as the format allows, and keeps the rules or does not.

use super::{Consumer, Producer, RingMemory};
use denali_abi::ring::{FRAME_BYTES_MAX, FRAME_BYTES_MIN};
use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{self, Relaxed, SeqCst},
        },
    },
    thread,
};
use std::{
    array,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Room for two records of the smallest frame.
const BYTES: u64 = 64;
const RECORD_BYTES: u64 = 24;

const FRAMES: u64 = 3;

/// A ring, and the positions that both sides publish, as `cable` loads and stores them.
struct Shared {
    words: [AtomicU64; BYTES as usize / 8],
    head: AtomicU64,
    tail: AtomicU64,
}

impl RingMemory for Shared {
    fn length(&self) -> usize {
        BYTES as usize
    }

    /// The VMM's copies promise no order: nothing but the positions gives them one.
    fn read(&self, place: usize, out: &mut [u8]) {
        for (word, bytes) in self.words[place / 8..].iter().zip(out.chunks_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..bytes.len()]);
        }
    }

    fn write(&self, place: usize, data: &[u8]) {
        for (word, bytes) in self.words[place / 8..].iter().zip(data.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Relaxed);
        }
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        let words = array::from_fn(|_| AtomicU64::new(u64::MAX));
        Arc::new(Self { words, head: AtomicU64::new(0), tail: AtomicU64::new(0) })
    }

    fn word(&self, position: u64) -> &AtomicU64 {
        &self.words[(position % BYTES) as usize / 8]
    }

    /// The guest puts a frame of the smallest length that is full of `letter`.
    fn guest_puts(&self, position: u64, letter: u8) {
        self.word(position).store(FRAME_BYTES_MIN as u64, Relaxed);
        self.word(position + 8).store(u64::from_le_bytes([letter; 8]), Relaxed);
        self.word(position + 16).store(u64::from_le_bytes([letter; 8]), Relaxed);
    }
}

/// All orders in which one thread is stopped for another up to three times: more finds nothing new in loops of a few steps.
fn in_all_orders(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A guest sends more than the ring holds; it publishes with this ordering.
fn guest_sends(publish: Ordering) {
    in_all_orders(move || {
        let shared = Shared::new();
        let guest = Arc::clone(&shared);
        let sending = thread::spawn(move || {
            for n in 0..FRAMES {
                while n * RECORD_BYTES + RECORD_BYTES - guest.tail.load(SeqCst) > BYTES {
                    thread::yield_now();
                }
                guest.guest_puts(n * RECORD_BYTES, n as u8);
                guest.head.store((n + 1) * RECORD_BYTES, publish);
            }
        });
        let (mut consumer, mut frame, mut next) = (Consumer::default(), Vec::new(), 0);
        while u64::from(next) < FRAMES {
            let head = shared.head.load(SeqCst);
            if consumer.take_from(&*shared, head, &mut frame).expect("the guest keeps the rules") {
                shared.tail.store(consumer.tail(), SeqCst);
                assert_eq!(frame, [next; FRAME_BYTES_MIN], "another frame, or half of it");
                next += 1;
            } else {
                thread::yield_now();
            }
        }
        sending.join().expect("the guest ends");
    });
}

#[test]
fn what_a_guest_sends_meanwhile_arrives_whole() {
    guest_sends(Ordering::Release);
}

/// The model sees what it is there to see.
#[test]
fn a_position_published_too_early_is_noticed() {
    let found = catch_unwind(AssertUnwindSafe(|| guest_sends(Relaxed)));
    assert!(found.is_err());
}

#[test]
fn what_a_guest_receives_meanwhile_is_whole() {
    in_all_orders(|| {
        let shared = Shared::new();
        let guest = Arc::clone(&shared);
        let receiving = thread::spawn(move || {
            for n in 0..FRAMES {
                while guest.head.load(SeqCst) < (n + 1) * RECORD_BYTES {
                    thread::yield_now();
                }
                let position = n * RECORD_BYTES;
                assert_eq!(guest.word(position).load(Relaxed), FRAME_BYTES_MIN as u64);
                assert_eq!(guest.word(position + 8).load(Relaxed), u64::from_le_bytes([n as u8; 8]));
                guest.tail.store(position + RECORD_BYTES, Ordering::Release);
            }
        });
        let mut producer = Producer::default();
        for n in 0..FRAMES {
            let room = |producer: &mut Producer| producer.room_in(&*shared, shared.tail.load(SeqCst));
            while room(&mut producer).expect("the guest keeps the rules") < FRAME_BYTES_MIN {
                thread::yield_now();
            }
            producer.put_into(&*shared, &[n as u8; FRAME_BYTES_MIN]);
            shared.head.store(producer.head(), SeqCst);
        }
        receiving.join().expect("the guest ends");
    });
}

/// A guest that changes lengths and positions while the VMM looks at them gets an error or a frame, of a length that frames
/// have, and the VMM's own position stays where frames can be.
#[test]
fn a_guest_that_lies_meanwhile_gains_nothing() {
    const LENGTHS: [u64; 4] = [FRAME_BYTES_MIN as u64, FRAME_BYTES_MAX as u64, 0, u64::MAX];
    in_all_orders(|| {
        let shared = Shared::new();
        let guest = Arc::clone(&shared);
        let lying = thread::spawn(move || {
            for (n, length) in LENGTHS.into_iter().enumerate() {
                guest.head.store([RECORD_BYTES, BYTES, 2 * BYTES, 12][n], Relaxed);
                guest.word(0).store(length, Relaxed);
            }
        });
        let (mut consumer, mut frame) = (Consumer::default(), Vec::new());
        for _ in 0..3 {
            let (before, head) = (consumer.tail(), shared.head.load(SeqCst));
            match consumer.take_from(&*shared, head, &mut frame) {
                Ok(true) => {
                    assert!((FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len()));
                    assert!(consumer.tail() > before && consumer.tail() <= head && consumer.tail() % 8 == 0);
                }
                Ok(false) | Err(_) => assert_eq!(consumer.tail(), before),
            }
        }
        lying.join().expect("the guest ends");
    });
}

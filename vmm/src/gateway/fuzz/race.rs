//! A guest with a second thread. A real one has one virtual CPU, but what it wrote is read here by several threads of a host.

use super::{RINGS, memory, sink::Kept};
use crate::{
    gateway::{Bench, Feed, Gateway, Link},
    kvm::GuestMemory,
};
use arbitrary::{Result, Unstructured};
use denali_abi::{memory::CONTROL, ring::TRANSMIT_BYTES};
use std::{
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};
use vm_memory::Bytes;

/// Most rounds of one input: the writer may be late, on a host that is busy.
const ROUNDS: usize = 400;

/// Memory that two threads work on.
struct Shared {
    memory: GuestMemory,
    /// What is written over and over: place and word.
    script: Mutex<Vec<(u64, u64)>>,
    writes: AtomicBool,
    written: AtomicU64,
}

static SHARED: LazyLock<(&'static Shared, Thread)> = LazyLock::new(|| {
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        memory: memory(),
        script: Mutex::default(),
        writes: AtomicBool::new(false),
        written: AtomicU64::new(0),
    }));
    let writer = thread::spawn(move || shared.write());
    (shared, writer.thread().clone())
});

/// Pumps a guest's rings while another thread writes into them what `data` say: positions, lengths, headers. Nothing panics, and
/// no bound is exceeded.
pub fn gateway_race(data: &[u8]) {
    // Nothing is done where the bytes are too few.
    let _ = race(&mut Unstructured::new(data));
}

fn race(u: &mut Unstructured<'_>) -> Result<()> {
    let (shared, writer) = &*SHARED;
    let limit = u.arbitrary::<u16>()?.into();
    let script = (0..u.int_in_range(1..=24)?).map(|_| word(u)).collect::<Result<Vec<_>>>()?;
    let wanted = 2 * script.len() as u64;
    let ram = shared.memory.ram();
    // A frame of a message at the front of the ring, for those that are late.
    ram.write_slice(&[0; 144], CONTROL as usize).expect("it is there");
    *shared.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    let begun = shared.written.load(Ordering::Relaxed);
    shared.writes.store(true, Ordering::Release);
    writer.unpark();
    let mut frame = Vec::new();
    for _ in 0..ROUNDS {
        let kept = Kept::new(limit);
        let mut gateway = Gateway::new(RINGS, Link::of(1), Feed::default(), limit, Box::new(kept.clone()));
        let mut bench = Bench { memory: &shared.memory, frame: &mut frame };
        gateway.feed(vec![7; 3000], false);
        let mut before = gateway.progress();
        // A VM ends with its first lie.
        while gateway.pump(&mut bench).is_ok() {
            let now = gateway.progress();
            assert!(before.taken <= now.taken && now.taken - before.taken <= 2 * TRANSMIT_BYTES);
            assert!(before.received <= now.received && now.received - before.received <= RINGS.receive_bytes);
            if before == now {
                break;
            }
            before = now;
        }
        kept.check();
        match shared.written.load(Ordering::Relaxed) - begun {
            // It has to get a CPU first.
            0 => thread::yield_now(),
            written if written >= wanted => break,
            _ => {}
        }
    }
    shared.writes.store(false, Ordering::Relaxed);
    Ok(())
}

impl Shared {
    /// Writes the script again and again, as long as someone reads.
    fn write(&self) {
        loop {
            if !self.writes.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(10));
                continue;
            }
            let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (place, word) in script {
                self.memory.ram().store(word, place as usize, Ordering::Release).expect("it is in memory");
                self.written.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A word, where it matters: the two positions, and the front of the transmit ring.
fn word(u: &mut Unstructured<'_>) -> Result<(u64, u64)> {
    let place = match u.int_in_range(0..=7u8)? {
        0..=2 => CONTROL,
        3 => CONTROL + 8,
        4 | 5 => RINGS.transmit,
        _ => RINGS.transmit + 8 * u.int_in_range(0..=63)?,
    };
    let word = match u.int_in_range(0..=3u8)? {
        0 => u.arbitrary()?,
        1 => u64::from(u.arbitrary::<u16>()?) * 8,
        2 => u.int_in_range(14..=0xf000)?,
        _ => u.int_in_range(0..=40)? * 8,
    };
    Ok((place, word))
}

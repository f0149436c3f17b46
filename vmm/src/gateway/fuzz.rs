//! A guest's side of its cable: honest and hostile messages, frames, records and positions, one after the other, or by a second
//! thread that writes into the rings while they are read.

mod guest;
mod race;
mod sink;

use super::{Bench, Feed, Gateway, GatewayError, Link, Verdict};
use crate::{
    kvm::GuestMemory,
    machine::image::Image,
    nic::cable::{Rings, is_untouched},
};
use arbitrary::{Result, Unstructured};
use denali_abi::{
    memory::IMAGE_BASE,
    ring::{RECEIVE_BYTES_MIN, TRANSMIT_BYTES},
};
use denali_protocol::{
    bundle::CpuModel,
    job::{FaultCause, Outcome},
};
use guest::Guest;
pub use race::gateway_race;
use sink::Kept;
use std::cell::RefCell;

const MEMORY: u64 = 4 << 20;
const RINGS: Rings = Rings {
    transmit: IMAGE_BASE,
    transmit_bytes: TRANSMIT_BYTES,
    receive: IMAGE_BASE + TRANSMIT_BYTES,
    receive_bytes: RECEIVE_BYTES_MIN,
};
/// Most steps of one guest.
const STEPS: usize = 200;

/// Memory of a VM whose program is all zeros.
fn memory() -> GuestMemory {
    let image = Image {
        cpu: CpuModel::V2,
        memory_bytes: MEMORY,
        entry: IMAGE_BASE,
        ram: Vec::new(),
        supervisor: Vec::new(),
        end: IMAGE_BASE,
        modules: IMAGE_BASE,
        module_count: 0,
    };
    GuestMemory::new(&image).expect("4 MiB of memory")
}

/// Plays the guest that `data` describe. As long as it is honest, all that it sent arrives, and all input gets to it, whole and in
/// order; its first wrong message, and every lie about its rings, ends it. Whatever it does, no bound is exceeded.
pub fn gateway(data: &[u8]) {
    thread_local! {
        static MEMORY: RefCell<(GuestMemory, Vec<u8>)> = RefCell::new((memory(), Vec::new()));
    }
    MEMORY.with_borrow_mut(|(memory, frame)| {
        // It ends where the bytes do.
        let _ = play(&mut Unstructured::new(data), memory, frame);
    });
}

fn play(u: &mut Unstructured<'_>, memory: &GuestMemory, frame: &mut Vec<u8>) -> Result<()> {
    let limit = if u.ratio(1, 4)? { u.int_in_range(0..=300)? } else { 1 << 20 };
    let kept = Kept::new(limit);
    let (feed, input) = feed(u)?;
    let by_messages = input.is_empty();
    let mut gateway = Gateway::new(RINGS, Link::of(u.arbitrary()?), feed, limit, Box::new(kept.clone()));
    let mut guest = Guest::new(memory, gateway.link, limit);
    guest.expect_input(&input);
    assert!(is_untouched(memory) && gateway.rings().end() <= MEMORY);
    let mut bench = Bench { memory, frame };
    gateway.begin(&mut bench, &["argument".to_owned()]).expect("an empty ring takes it");
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let end = match u.int_in_range(0..=15u8)? {
            0..=4 => guest.say(u)?,
            5 => guest.send_near(u)?,
            6 => guest.send_any(u)?,
            7 => guest.lie(u)?,
            8 | 9 if by_messages => {
                let count = usize::from(u.arbitrary::<u8>()?).min(u.len());
                let bytes = u.bytes(count)?.to_vec();
                guest.expect_input(&bytes);
                gateway.feed(bytes, u.ratio(1, 32)?);
                None
            }
            10 => guest.receive(),
            11 => {
                kept.toggle();
                None
            }
            12 => Some(gateway.finish(&mut bench)),
            _ => Some(gateway.pump(&mut bench)),
        };
        kept.check();
        let Some(result) = end else { continue };
        guest.check(&result, &kept, &gateway);
        if let Err(error) = result {
            check_end(error, limit);
            return Ok(());
        }
    }
    Ok(())
}

/// A guest that broke a rule is at fault, and says how; one that put out too much is told so.
fn check_end(error: GatewayError, limit: u64) {
    let text = error.to_string();
    match Verdict::from(error) {
        Verdict::Fault(FaultCause::Nic { detail } | FaultCause::JobChannel { detail }) => {
            assert!(detail == text && !text.is_empty());
        }
        Verdict::Outcome(Outcome::OutputLimit { limit_bytes }) => assert_eq!(limit_bytes, limit),
        other => panic!("{other:?}"),
    }
}

/// A job's input, and what is in it already: all of it, or nothing before messages bring some.
fn feed(u: &mut Unstructured<'_>) -> Result<(Feed, Vec<u8>)> {
    if u.int_in_range(0..=15u8)? > 1 {
        return Ok((Feed::default(), Vec::new()));
    }
    let input = vec![u.arbitrary()?; usize::from(u.arbitrary::<u16>()?) + 1];
    Ok((Feed::bytes_of(input.clone()), input))
}

//! A server that answers each packet with a line. Its argument names the one mechanism of the paper that it does without.
#![no_std]
#![no_main]

use core::{hint, str::FromStr};
use denali_abi::{
    instruction::IDLE_FOREVER,
    job::{HEADER_BYTES, INPUT, INPUT_END, KIND, UDP_HEADERS_BYTES},
    ring::FRAME_BYTES_MAX,
};
use denali_guest::{Job, instruction, job::ArgumentError, nic, println};

denali_guest::main!(main);

/// What the server does without.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// Many packets for one interruption: each costs one of its own.
    Batching,
    /// Idling: it looks for packets until its slice ends.
    Idling,
    /// A NIC that takes one access for a packet.
    OneKick,
}

impl FromStr for Without {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "nothing" => Ok(Self::Nothing),
            "batching" => Ok(Self::Batching),
            "idling" => Ok(Self::Idling),
            "one-kick" => Ok(Self::OneKick),
            _ => Err(()),
        }
    }
}

/// Accesses to its ports that a NIC of the paper's time needs for a packet: 10 to 12.
const ACCESSES: u32 = 11;

fn main(job: &mut Job) -> Result<(), ArgumentError> {
    let without = job.argument(0, "nothing, batching, idling or one-kick")?;
    let mut frame = [0; FRAME_BYTES_MAX];
    loop {
        let Some(bytes) = nic::receive(&mut frame) else {
            match without {
                Without::Idling => hint::spin_loop(),
                _ => instruction::idle(IDLE_FOREVER),
            }
            continue;
        };
        let Some(bytes) = bytes.checked_sub(UDP_HEADERS_BYTES + HEADER_BYTES) else { continue };
        match frame[UDP_HEADERS_BYTES + KIND] {
            INPUT => answer(bytes, without),
            INPUT_END => return Ok(()),
            _ => {}
        }
    }
}

/// Answers a packet with a payload of so many bytes.
fn answer(bytes: usize, without: Without) {
    if without == Without::OneKick {
        // One packet came, and one is about to go.
        (0..2 * ACCESSES).for_each(|_| instruction::kick());
    }
    println!("{bytes} bytes");
    if without == Without::Batching {
        // A time long past: the VMM returns at once.
        instruction::idle(0);
    }
}

//! A whole fuzzer of one's own in a page: it keeps what reached something new, changes a few bytes of it, and runs that.
//!
//! ```sh
//! cargo run --release -p denali-harness --example guided -- 10
//! ```
#![forbid(unsafe_code)]

use denali_harness::{MAP_BYTES, Target};
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// Most inputs kept.
const KEPT: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |seconds| seconds.parse())?;
    let mut target = Target::new()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut kept = vec![vec![0; 64]];
    let mut reached = [0u8; MAP_BYTES];
    let (begun, mut programs) = (Instant::now(), 0u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = kept[random.below(kept.len())].clone();
        for _ in 0..=random.below(8) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        let verdict = target.run(&bytes)?;
        programs += 1;
        if !verdict.broken().is_empty() {
            std::fs::write("broken.attack", verdict.reproduction())?;
            return Err(format!("{:?}: see broken.attack", verdict.broken()).into());
        }
        let mut new = false;
        for (before, now) in reached.iter_mut().zip(verdict.map()) {
            new |= now > *before;
            *before |= now;
        }
        if new && kept.len() < KEPT {
            kept.push(bytes);
        }
    }
    let features = reached.iter().filter(|reached| **reached > 0).count();
    println!("{programs} guests reached {features} features; {} inputs kept; every promise held", kept.len());
    Ok(())
}

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

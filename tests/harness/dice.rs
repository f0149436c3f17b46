//! Numbers that look random, the same for the same seed.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// Splitmix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// A number that the environment gives.
pub(crate) fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// The seed that the environment gives, or one of the time.
pub(crate) fn seed(name: &str) -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_nanos() as u64;
    setting(name).unwrap_or_else(now)
}

//! Random numbers: ChaCha20, seeded by the VMM for this VM alone.

use crate::cell::VmCell;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

static GENERATOR: VmCell<Option<(u64, ChaCha20Rng)>> = VmCell::new(None);

/// Fills `bytes` with random numbers fit for keys. A copy of this VM gets others: the generator is seeded anew when the
/// VM's generation changes.
pub fn fill(bytes: &mut [u8]) {
    let registers = crate::vreg::read();
    let mut state = GENERATOR.borrow();
    let fresh = || (registers.generation, ChaCha20Rng::from_seed(registers.random_seed));
    let (generation, generator) = state.get_or_insert_with(fresh);
    if *generation != registers.generation {
        (*generation, *generator) = fresh();
    }
    generator.fill_bytes(bytes);
}

/// A random number.
#[must_use]
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

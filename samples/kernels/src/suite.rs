//! The computations at a size for measuring: some tens of milliseconds each, several slices of a scheduler.

use crate::{chase::Chase, mandelbrot::Tile, matmul::Matrix, nbody::System, primes};
use alloc::{boxed::Box, vec::Vec};
use core::{hint::black_box, str::FromStr};
use sha2::{Digest, Sha256};

/// A computation to measure.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Its name.
    pub name: &'static str,
    /// The goal: the time that it may take in a VM, natively being 1.
    pub goal: f64,
    prepare: fn() -> Work,
}

/// Computes once. The result is told, so that the compiler can't leave the work out.
type Work = Box<dyn FnMut() -> u64>;

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// How long each timed computation took.
    pub ns: [u64; TIMED],
    /// The last result: the same wherever it is computed.
    pub result: u64,
}

/// Computations of one measurement that are timed.
pub const TIMED: usize = 3;

impl Kernel {
    /// Computes once to touch all memory, then some times more by the given clock.
    pub fn measure(&self, mut now_ns: impl FnMut() -> u64) -> Measurement {
        let mut work = (self.prepare)();
        let mut result = black_box(work());
        let ns = [(); TIMED].map(|()| {
            let begun = now_ns();
            result = black_box(work());
            now_ns().wrapping_sub(begun)
        });
        Measurement { ns, result }
    }
}

/// Memory of the walk: beyond every cache, and far beyond what a CPU keeps of translated addresses.
const WALK_BYTES: usize = 256 << 20;

/// The most that computing in a VM may take, natively being 1.
const GOAL: f64 = 1.01;
/// The same of a computation that waits for memory, whose pages the VM translates by tables of its own.
const MEMORY_GOAL: f64 = 1.03;

/// All of them.
pub const ALL: [Kernel; 6] = [
    Kernel { name: "primes", goal: GOAL, prepare: primes },
    Kernel { name: "nbody", goal: GOAL, prepare: nbody },
    Kernel { name: "mandelbrot", goal: GOAL, prepare: mandelbrot },
    Kernel { name: "matmul", goal: GOAL, prepare: matmul },
    Kernel { name: "sha256", goal: GOAL, prepare: sha256 },
    Kernel { name: "random-access", goal: MEMORY_GOAL, prepare: random_access },
];

/// There is no computation of this name.
#[derive(Clone, Copy, Debug)]
pub struct UnknownKernel;

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Self, UnknownKernel> {
        ALL.into_iter().find(|kernel| kernel.name == name).ok_or(UnknownKernel)
    }
}

fn primes() -> Work {
    Box::new(|| primes::count(black_box(20_000_000)))
}

fn nbody() -> Work {
    Box::new(|| {
        let mut system = System::default();
        system.advance(black_box(500_000));
        system.energy().to_bits()
    })
}

fn mandelbrot() -> Work {
    Box::new(|| {
        let tile = black_box(Tile { index: 0, per_side: 1, size: 192 });
        tile.render().iter().map(|byte| u64::from(*byte)).sum()
    })
}

/// Matrices that stay in the second-level cache. Rows of 31 cache lines: were they of 32, the places of the three matrices
/// modulo 4096 would decide how often a load waits for an unrelated store, and those places are luck.
fn matmul() -> Work {
    const SIDE: usize = 248;
    let a = Matrix::of(SIDE, |row, column| (row + 2 * column) as f64);
    let b = Matrix::of(SIDE, |row, column| 1.0 / (1 + row + column) as f64);
    let mut product = Matrix::zero(SIDE);
    Box::new(move || {
        for _ in 0..black_box(10) {
            product.add_product(black_box(&a), black_box(&b));
        }
        product.trace().to_bits()
    })
}

fn sha256() -> Work {
    let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    Box::new(move || {
        let mut hash = Sha256::new();
        for _ in 0..black_box(16) {
            hash.update(black_box(&bytes));
        }
        hash.finalize().iter().take(8).fold(0, |result, byte| result << 8 | u64::from(*byte))
    })
}

fn random_access() -> Work {
    let mut chase = Chase::new(black_box(WALK_BYTES));
    Box::new(move || chase.follow(black_box(500_000)))
}

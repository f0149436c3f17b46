//! The computations at a size for measuring: some tens of milliseconds each.

use crate::{mandelbrot::Tile, nbody::System, primes};

/// A computation to measure.
pub type Kernel = fn() -> u64;

/// Name and body of each. The result is printed, so that the compiler can't leave the work out.
pub const ALL: [(&str, Kernel); 3] = [
    ("primes", || primes::count(core::hint::black_box(10_000_000))),
    ("nbody", || {
        let mut system = System::default();
        system.advance(core::hint::black_box(200_000));
        system.energy().to_bits()
    }),
    ("mandelbrot", || {
        let tile = core::hint::black_box(Tile { index: 0, per_side: 1, size: 192 });
        tile.render().iter().map(|byte| u64::from(*byte)).sum()
    }),
];

//! Every body, on stable and without libFuzzer: over its seeds, and over mutations of them.

use denali_fuzz::BODIES;
use std::{fs, path::Path};

/// Mutations of each seed set. Enough to meet every check, and done in seconds.
const MUTATIONS: u32 = 2_000;

#[test]
fn seeds_break_no_body() {
    for (name, body) in BODIES {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds for {name}");
        for seed in &seeds {
            body(seed);
        }
    }
}

#[test]
fn mutations_of_seeds_break_no_body() {
    for (name, body) in BODIES {
        let seeds = seeds(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..MUTATIONS {
            body(&mutation(&seeds, &mut random));
        }
    }
}

fn seeds(body: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(body);
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// One to four changes to one of the seeds.
fn mutation(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let to = at + random.below(bytes.len() - at + 1).min(16);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at..to].fill(0),
            2 => bytes[at..to].fill(0xff),
            3 => drop(bytes.splice(at..to, seeds[random.below(seeds.len())].iter().copied().skip(at).take(32))),
            4 => bytes[at..to].iter_mut().take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
            _ => bytes[at..to].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
    }
    bytes
}

/// Xorshift (Marsaglia 2003): the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

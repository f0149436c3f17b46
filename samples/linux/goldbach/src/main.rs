//! Goldbach's comet: in how many ways is an even number the sum of two primes? The table of primes is made once; a job
//! counts the ways of ten numbers.
#![forbid(unsafe_code)]

use std::{error::Error, io::Write};

const LIMIT: usize = 20_000_000;
const FIRST: usize = 2_000_000;
const NUMBERS: usize = 10;
const BLOCKS: usize = (LIMIT - FIRST) / (2 * NUMBERS);

/// Of each odd number 2i + 1, whether it is a prime.
fn table() -> Vec<bool> {
    let mut primes = vec![true; LIMIT / 2];
    primes[0] = false;
    for p in (3..).step_by(2).take_while(|p| p * p < LIMIT) {
        if primes[p / 2] {
            primes[p * p / 2..].iter_mut().step_by(p).for_each(|multiple| *multiple = false);
        }
    }
    primes
}

fn ways(primes: &[bool], number: usize) -> usize {
    (3..=number / 2).step_by(2).filter(|p| primes[p / 2] && primes[(number - p) / 2]).count()
}

fn main() -> Result<(), Box<dyn Error>> {
    let primes = table();
    let arguments = denali_program::ready()?;
    let block = arguments.first().and_then(|text| text.parse().ok()).filter(|block| *block < BLOCKS);
    let block: usize = block.ok_or_else(|| format!("give the number of a block, below {BLOCKS}"))?;
    let mut file = denali_program::result("ways.csv")?;
    let mut sum = 0;
    for i in 0..NUMBERS {
        let number = FIRST + 2 * (block * NUMBERS + i);
        let count = ways(&primes, number);
        writeln!(file, "{number},{count}")?;
        sum += count;
        denali_program::progress((i + 1) as f64 / NUMBERS as f64);
    }
    println!("block {block}: {sum} ways");
    Ok(())
}

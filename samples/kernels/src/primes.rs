//! Counting primes by a segmented sieve of Eratosthenes.

use alloc::{vec, vec::Vec};

/// Odd numbers in one segment: its sieve stays in the first-level cache.
const SEGMENT: u64 = 32 * 1024;

/// The number of primes up to `n`, which must be below 2⁶³.
#[must_use]
pub fn count(n: u64) -> u64 {
    if n < 2 {
        return 0;
    }
    let base = odd_primes(n.isqrt());
    // Index i stands for the odd number 2i + 1; index 0 (the number 1) is no prime, and 2 is counted in its place.
    let indices = n.div_ceil(2);
    let mut composite = vec![false; SEGMENT as usize];
    let mut count = 0;
    for low in (0..indices).step_by(SEGMENT as usize) {
        let length = SEGMENT.min(indices - low) as usize;
        let segment = &mut composite[..length];
        segment.fill(false);
        for &p in &base {
            let square = (p * p - 1) / 2;
            if square >= low + length as u64 {
                break;
            }
            let first = if square >= low { square - low } else { (p - (low - square) % p) % p };
            for place in (first as usize..length).step_by(p as usize) {
                segment[place] = true;
            }
        }
        count += segment.iter().filter(|c| !**c).count() as u64;
    }
    count
}

/// The odd primes up to `limit`.
fn odd_primes(limit: u64) -> Vec<u64> {
    let mut composite = vec![false; limit as usize + 1];
    let mut primes = Vec::new();
    for n in (3..=limit).step_by(2) {
        if !composite[n as usize] {
            primes.push(n);
            for multiple in (n * n..=limit).step_by(2 * n as usize) {
                composite[multiple as usize] = true;
            }
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn agrees_with_trial_division() {
        let is_prime = |n: u64| n >= 2 && (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        let mut expected = 0;
        for n in 0..3000 {
            expected += u64::from(is_prime(n));
            assert_eq!(count(n), expected, "primes up to {n}");
        }
    }

    /// Known values of the prime-counting function (OEIS A006880).
    #[test]
    fn agrees_with_published_values() {
        assert_eq!(count(100_000), 9_592);
        assert_eq!(count(1_000_000), 78_498);
        assert_eq!(count(10_000_000), 664_579);
    }
}

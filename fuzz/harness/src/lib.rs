//! Whole VMs under any fuzzer: give it bytes, and it runs the guest program that they make in real virtual hardware, looks
//! whether every promise of the boundary held, and says what the program reached.
//!
//! ```no_run
//! let mut target = denali_harness::Target::new()?;
//! let verdict = target.run(b"any bytes")?;
//! assert!(verdict.broken().is_empty(), "{:?}", verdict.broken());
//! println!("{} reached {} features", verdict.end(), verdict.features().len());
//! # Ok::<(), denali_harness::Error>(())
//! ```
//!
//! For more than bytes there is all of [`denali_vmm::attack`]. `docs/attack.md` is a walk through both, and through the
//! libFuzzer target in `fuzz/fuzz_targets/vm.rs`.
#![forbid(unsafe_code)]

mod feedback;

pub use denali_vmm::attack::AttackError as Error;
use denali_vmm::attack::{self, Case, FEATURES, Reproduction};
pub use feedback::mark;

/// Bytes of a [`Verdict::map`].
pub const MAP_BYTES: usize = FEATURES;

/// Virtual hardware, put back to its image before each program. It stays on the thread that made it.
pub struct Target(attack::Target);

/// What came of a program.
#[derive(Debug)]
pub struct Verdict {
    case: Case,
    verdict: attack::Verdict,
}

impl Target {
    /// Makes one: about ten milliseconds.
    ///
    /// # Errors
    /// [`Error`] where this host can't run VMs; `denali doctor` says why.
    pub fn new() -> Result<Self, Error> {
        attack::Target::new().map(Self)
    }

    /// Runs the guest program that `bytes` make, with all that they make happen to its VM: any bytes make one, and like
    /// bytes make like programs. One of ordinary length takes a fifth of a millisecond; none takes much longer than its 1 ms
    /// of CPU time.
    ///
    /// # Errors
    /// [`Error`] where the host can't go on.
    pub fn run(&mut self, bytes: &[u8]) -> Result<Verdict, Error> {
        self.run_case(attack::of_bytes(bytes))
    }

    /// Runs raw machine code from 0x200000 on, at most 64 KiB of it: what is beyond is left out.
    ///
    /// # Errors
    /// [`Error`] where the host can't go on.
    pub fn run_flat(&mut self, code: &[u8]) -> Result<Verdict, Error> {
        let code = code[..code.len().min(FLAT_BYTES)].to_vec();
        let mut case = Case::flat(code).unwrap_or_else(|_| unreachable!("so many bytes fit"));
        case.cpu_time_us = attack::CPU_TIME_US;
        self.run_case(case)
    }

    fn run_case(&mut self, case: Case) -> Result<Verdict, Error> {
        let verdict = self.0.run(&case)?;
        Ok(Verdict { case, verdict })
    }

    /// Looks at once at what is otherwise looked at after every 512 programs: leftovers, a neighbour, the image. Says what
    /// is not as it should be.
    ///
    /// # Errors
    /// [`Error`] where the host can't go on.
    pub fn inspect(&mut self) -> Result<Vec<String>, Error> {
        Ok(self.0.inspect()?.into_iter().map(|finding| format!("{:?}: {}", finding.oracle, finding.detail)).collect())
    }
}

const FLAT_BYTES: usize = 64 << 10;

impl Verdict {
    /// The promises that were broken: none, unless there is a bug.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.verdict.findings.iter().map(|finding| format!("{:?}: {}", finding.oracle, finding.detail)).collect()
    }

    /// How the program ended, for people.
    #[must_use]
    pub fn end(&self) -> String {
        self.verdict.outcome.to_string()
    }

    /// What it reached: kinds of exits, pairs of them, states of the rings, ends; as numbers below [`MAP_BYTES`], ascending.
    #[must_use]
    pub fn features(&self) -> &[u16] {
        &self.verdict.features
    }

    /// The same as a coverage map: a byte of 1 for each feature reached.
    #[must_use]
    pub fn map(&self) -> [u8; MAP_BYTES] {
        let mut map = [0; MAP_BYTES];
        for feature in self.features() {
            map[usize::from(*feature)] = 1;
        }
        map
    }

    /// A file for `denali attack --replay`.
    #[must_use]
    pub fn reproduction(&self) -> Vec<u8> {
        // A program of this crate's is far smaller than the most that a file holds.
        Reproduction::of(&self.case, &self.verdict).write().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

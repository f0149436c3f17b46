//! One thread's part of a campaign: program after program, and a reproduction of each that broke a promise.

use super::{
    case::{Case, Program},
    features::FEATURES,
    reproduction::Reproduction,
    target::{INSPECTION_INTERVAL, Target},
    trace::Trace,
    verdict::{AttackError, Oracle, Verdict},
};
use denali_protocol::job::Outcome;
use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Programs run.
    pub programs: u64,
    /// Their exits.
    pub exits: u64,
    /// VMs made: where one can't be put back, it is made anew.
    pub made: u64,
    /// Programs by the word for their end.
    pub ends: BTreeMap<&'static str, u64>,
}

/// Runs programs in a target of its own. It belongs to the thread that made it.
pub struct Attacker {
    target: Target,
    /// The programs since the last inspection.
    recent: VecDeque<Case>,
    features: Vec<bool>,
    tally: Tally,
    /// VMs that targets made which are gone.
    made_before: u64,
}

impl Attacker {
    /// An attacker with a target of its own for programs like this one.
    ///
    /// # Errors
    /// [`AttackError`], by fault of the host or of the program.
    pub fn new(case: &Case) -> Result<Self, AttackError> {
        Ok(Self {
            target: Target::for_case(case)?,
            recent: VecDeque::new(),
            features: vec![false; FEATURES],
            tally: Tally::default(),
            made_before: 0,
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally { made: self.made_before + self.target.made(), ..self.tally.clone() }
    }

    /// Which features programs reached so far.
    #[must_use]
    pub fn features(&self) -> &[bool] {
        &self.features
    }

    /// Runs a program. A reproduction, as small as is easily made, where a promise was broken.
    ///
    /// # Errors
    /// [`AttackError`] where the host can't go on.
    pub fn run(&mut self, case: &Case) -> Result<Option<Reproduction>, AttackError> {
        if self.recent.len() as u64 == INSPECTION_INTERVAL {
            self.recent.pop_front();
        }
        self.recent.push_back(case.clone());
        let verdict = match caught(|| self.target.run(case)) {
            Ok(verdict) => verdict?,
            Err(panic) => {
                self.renew(case)?;
                return Ok(Some(panicked(case, panic)));
            }
        };
        self.tally.programs += 1;
        self.tally.exits += verdict.trace.entries;
        *self.tally.ends.entry(verdict.outcome.word()).or_default() += 1;
        for feature in &verdict.features {
            self.features[usize::from(*feature)] = true;
        }
        if verdict.findings.is_empty() { Ok(None) } else { self.found(case, &verdict).map(Some) }
    }

    /// Inspects once more: what the last programs left is found too.
    ///
    /// # Errors
    /// [`AttackError`] where the host can't go on.
    pub fn finish(&mut self) -> Result<Option<Reproduction>, AttackError> {
        let (Some(case), findings) = (self.recent.back().cloned(), self.target.inspect()?) else { return Ok(None) };
        if findings.is_empty() {
            return Ok(None);
        }
        let mut verdict = self.target.run(&case)?;
        verdict.findings = findings;
        self.found(&case, &verdict).map(Some)
    }

    fn renew(&mut self, case: &Case) -> Result<(), AttackError> {
        self.made_before += self.target.made();
        self.target = Target::for_case(case)?;
        self.recent.clear();
        Ok(())
    }

    /// The culprit is the program itself or, of what is only looked at now and then, one of those before it.
    fn found(&mut self, case: &Case, verdict: &Verdict) -> Result<Reproduction, AttackError> {
        let oracle = verdict.findings[0].oracle;
        let suspects = std::iter::once(case.clone()).chain(self.recent.drain(..).rev());
        for suspect in suspects.collect::<Vec<_>>() {
            if let Some(found) = reproduces(&suspect, oracle)? {
                self.renew(case)?;
                return minimised(suspect, found, oracle);
            }
        }
        self.renew(case)?;
        Ok(Reproduction::of(case, verdict))
    }
}

/// Whether a program breaks such a promise in hardware of its own.
fn reproduces(case: &Case, oracle: Oracle) -> Result<Option<Reproduction>, AttackError> {
    let ran = caught(|| -> Result<Verdict, AttackError> {
        let mut target = Target::for_case(case)?;
        let mut verdict = target.run(case)?;
        verdict.findings.extend(target.inspect()?);
        Ok(verdict)
    });
    match ran {
        Err(panic) => Ok((oracle == Oracle::Panic).then(|| panicked(case, panic))),
        Ok(verdict) => {
            let verdict = verdict?;
            let is = verdict.findings.iter().any(|finding| finding.oracle == oracle);
            Ok(is.then(|| Reproduction::of(case, &verdict)))
        }
    }
}

/// Leaves out one piece after the other for as long as the promise is broken.
fn minimised(mut case: Case, mut found: Reproduction, oracle: Oracle) -> Result<Reproduction, AttackError> {
    let mut n = 0;
    while let Some(smaller) = without(&case, n) {
        match reproduces(&smaller, oracle)? {
            Some(reproduction) => (case, found) = (smaller, reproduction),
            None => n += 1,
        }
    }
    Ok(found)
}

/// A program without its `n`-th part; none if it has fewer.
fn without(case: &Case, n: usize) -> Option<Case> {
    let mut smaller = case.clone();
    let mut left = n;
    let mut pieces = match &mut smaller.program {
        Program::Pieces { main, handler } => vec![main, handler],
        Program::Elf(_) => Vec::new(),
    };
    let removed = pieces.iter_mut().any(|pieces| remove(pieces, &mut left))
        || remove(&mut smaller.events, &mut left)
        || remove(&mut smaller.control, &mut left)
        || remove(&mut smaller.registers, &mut left)
        || cleared(&mut smaller.transmit, &mut left)
        || cleared(&mut smaller.input, &mut left);
    removed.then_some(smaller)
}

/// Removes the `n`-th part, or counts the parts that there are.
fn remove<T>(parts: &mut Vec<T>, n: &mut usize) -> bool {
    if let Some(left) = n.checked_sub(parts.len()) {
        *n = left;
        return false;
    }
    parts.remove(*n);
    true
}

fn cleared(bytes: &mut Vec<u8>, n: &mut usize) -> bool {
    if bytes.is_empty() {
        return false;
    }
    if *n == 0 {
        bytes.clear();
        return true;
    }
    *n -= 1;
    false
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

fn panicked(case: &Case, panic: String) -> Reproduction {
    let outcome = Outcome::Lost("the VMM panicked".to_owned());
    Reproduction { case: case.clone(), outcome, trace: Trace::default(), findings: vec![(Oracle::Panic, panic)] }
}

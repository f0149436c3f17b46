//! A campaign: generated guests, one after the other, on as many threads as asked for.

use super::{Args, Broken, print, show, write};
use crate::cli::{
    failure::fail,
    host::Host,
    runtime::{Interrupt, block_on_one_thread},
};
use anyhow::Context;
use denali_protocol::job::Outcome;
use denali_vmm::attack::{Attacker, Oracle, Reproduction, Resources, Tally, Target, Trace, of_seed};
use indicatif::{ProgressBar, ProgressStyle};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

#[derive(Serialize)]
struct Report {
    seed: u64,
    jobs: u16,
    seconds: f64,
    programs: u64,
    programs_per_s: f64,
    /// How often their virtual CPUs left.
    exits: u64,
    /// VMs made: where one can't be put back, it is made anew.
    vms_made: u64,
    /// Different things that programs reached.
    features: usize,
    /// Programs by the word for their end.
    ends: BTreeMap<&'static str, u64>,
    /// Whether it was told to end before its time.
    interrupted: bool,
    broken: Vec<Broken>,
    host: Host,
}

const TIME: Duration = Duration::from_secs(10);

/// Findings after which a campaign ends: more of the same would be of no use.
const FINDINGS: usize = 16;

/// A guest that runs longer holds up its thread, whatever its limits say.
const HANGS: Duration = Duration::from_secs(60);

const LOOKS: Duration = Duration::from_millis(100);

/// What all threads of a campaign share.
struct Campaign<'a> {
    args: &'a Args,
    seed: u64,
    begun: Instant,
    time: Duration,
    /// Guests to run at the most, and those that threads have taken so far.
    programs: u64,
    taken: AtomicU64,
    done: AtomicU64,
    /// Whether it was asked to end, or has to.
    asked: Arc<AtomicBool>,
    stop: AtomicBool,
    found: Mutex<Vec<Broken>>,
}

/// What a thread is doing: the number of its program, and when that began, in ms since the campaign's begin.
#[derive(Default)]
struct Doing {
    program: AtomicU64,
    since_ms: AtomicU64,
    over: AtomicBool,
}

/// Whether every promise held.
pub(super) fn execute(args: &Args) -> anyhow::Result<bool> {
    let seed = args.seed.map_or_else(random, Ok)?;
    let asked = is_asked_to_stop()?;
    let before = Resources::now()?;
    let campaign = Campaign::new(args, seed, asked);
    if !args.json {
        print::line(format!("seed {seed}"))?;
    }
    let done = campaign.run()?;
    let last = done.last;
    let mut report = campaign.report(done);
    let kept = Resources::kept_since(before)?;
    report.broken.extend(kept.iter().map(|finding| Broken::new(finding.oracle, &finding.detail)));
    // Nothing broken is no answer where nothing was tried.
    let Some(last) = last.filter(|_| report.programs > 0) else { return fail("no guest ran", "give it more --time") };
    let said = if args.json { print::json(&report) } else { tell(&report) };
    said?;
    args.record.as_deref().map_or(Ok(()), |file| record(file, seed, last))?;
    Ok(report.broken.is_empty())
}

fn tell(report: &Report) -> anyhow::Result<()> {
    print::line(format!(
        "{} guests in {:.1} s, {:.0} a second, {:.1} exits each; {} features; {} VMs made",
        report.programs,
        report.seconds,
        report.programs_per_s,
        report.exits as f64 / report.programs.max(1) as f64,
        report.features,
        report.vms_made,
    ))?;
    let ends = report.ends.iter().map(|(word, count)| format!("{word} {count}"));
    print::line(format!("ends: {}", ends.collect::<Vec<_>>().join(", ")))?;
    if report.interrupted {
        print::line("interrupted")?;
    }
    show(&report.broken)?;
    if report.broken.is_empty() { print::line("every promise held") } else { Ok(()) }
}

/// What is set by Ctrl-C, or a polite request to end: a campaign then says what it did, as at its end.
fn is_asked_to_stop() -> anyhow::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    let is_asked = Arc::clone(&asked);
    let (caught, is_caught) = mpsc::sync_channel(1);
    thread::spawn(move || {
        block_on_one_thread::<()>(async {
            let interrupt = Interrupt::catch();
            let _ = caught.send(interrupt.is_ok());
            interrupt?.next().await;
            is_asked.store(true, Relaxed);
            // Its descriptors stay open, as those that are counted must.
            std::future::pending().await
        })
        .unwrap_or(());
    });
    anyhow::ensure!(is_caught.recv().is_ok_and(|caught| caught), "signals can't be caught");
    Ok(asked)
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).ok().context("the host has no random numbers")?;
    Ok(u64::from_le_bytes(bytes))
}

/// What threads have done.
#[derive(Default)]
struct Done {
    tally: Tally,
    features: Vec<bool>,
    /// The last guest's number.
    last: Option<u64>,
}

impl<'a> Campaign<'a> {
    fn new(args: &'a Args, seed: u64, asked: Arc<AtomicBool>) -> Self {
        Self {
            args,
            seed,
            begun: Instant::now(),
            time: args.time.unwrap_or(if args.programs.is_some() { Duration::MAX } else { TIME }),
            programs: args.programs.unwrap_or(u64::MAX),
            taken: AtomicU64::new(0),
            done: AtomicU64::new(0),
            asked,
            stop: AtomicBool::new(false),
            found: Mutex::default(),
        }
    }

    fn run(&self) -> anyhow::Result<Done> {
        let doing: Vec<Doing> = (0..self.args.jobs).map(|_| Doing::default()).collect();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for doing in &doing {
                let thread = thread::Builder::new().spawn_scoped(scope, || self.attack(doing));
                // Those that run end before an error is told.
                threads.push(thread.inspect_err(|_| self.stop.store(true, Relaxed)).context("the host has no thread")?);
            }
            self.watch(&doing);
            let mut sum = Done::default();
            for thread in threads {
                sum.add(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
            }
            Ok(sum)
        })
    }

    fn attack(&self, doing: &Doing) -> anyhow::Result<Done> {
        let attacked = self.attack_until_over(doing);
        doing.over.store(true, Relaxed);
        if attacked.is_err() {
            self.stop.store(true, Relaxed);
        }
        attacked
    }

    fn attack_until_over(&self, doing: &Doing) -> anyhow::Result<Done> {
        let mut attacker = Attacker::new(&of_seed(self.seed, 0))?;
        let mut last = None;
        while !self.is_over() && self.begun.elapsed() < self.time {
            let taken = self.taken.fetch_add(1, Relaxed);
            // A seed has no more guests than there are numbers.
            let program = self.args.first.checked_add(taken).filter(|_| taken < self.programs);
            let Some(program) = program else { break };
            doing.program.store(program, Relaxed);
            doing.since_ms.store(self.now_ms(), Relaxed);
            let found = attacker.run(&of_seed(self.seed, program))?;
            self.done.fetch_add(1, Relaxed);
            last = Some(program);
            if let Some(found) = found {
                self.keep(program, &found);
            }
        }
        doing.since_ms.store(self.now_ms(), Relaxed);
        if let Some(found) = attacker.finish()? {
            self.keep(last.unwrap_or_default(), &found);
        }
        Ok(Done { tally: attacker.tally(), features: attacker.features().to_vec(), last })
    }

    fn is_over(&self) -> bool {
        self.stop.load(Relaxed) || self.asked.load(Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Keeps what was found. Where its reproduction can't be written it is told all the same.
    fn keep(&self, program: u64, reproduction: &Reproduction) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut broken = Broken::of(reproduction);
        let oracle = broken.first().map_or("unknown", |broken| broken.oracle.as_str());
        let file = self.args.out.join(format!("{oracle}-{}-{program}.attack", self.seed));
        match self.write(&file, reproduction) {
            Ok(()) => broken.iter_mut().for_each(|broken| broken.file = Some(file.clone())),
            Err(error) => print::note(format!(
                "denali: guest {program} of seed {} broke a promise, and its reproduction can't be written: {error:#}",
                self.seed
            )),
        }
        found.extend(broken);
        if found.len() >= FINDINGS {
            self.stop.store(true, Relaxed);
        }
    }

    fn write(&self, file: &Path, reproduction: &Reproduction) -> anyhow::Result<()> {
        fs::create_dir_all(&self.args.out).with_context(|| self.args.out.display().to_string())?;
        write(file, reproduction)
    }

    /// Shows how it goes, and ends a campaign of which a thread hangs: nothing else could.
    fn watch(&self, doing: &[Doing]) {
        let shown = if self.args.json || !print::watched() { ProgressBar::hidden() } else { bar(self.time) };
        while !doing.iter().all(|doing| doing.over.load(Relaxed)) {
            thread::sleep(LOOKS);
            let (done, seconds) = (self.done.load(Relaxed), self.begun.elapsed().as_secs_f64());
            shown.set_position(self.now_ms());
            shown.set_message(format!("{done} guests, {:.0} a second", done as f64 / seconds));
            let hangs = |doing: &&Doing| {
                let since = Duration::from_millis(doing.since_ms.load(Relaxed));
                !doing.over.load(Relaxed) && self.begun.elapsed().saturating_sub(since) > HANGS
            };
            if let Some(doing) = doing.iter().find(hangs) {
                self.hangs(doing.program.load(Relaxed));
            }
        }
        shown.finish_and_clear();
    }

    fn report(&self, Done { tally, features, .. }: Done) -> Report {
        let seconds = self.begun.elapsed().as_secs_f64();
        Report {
            seed: self.seed,
            jobs: self.args.jobs,
            seconds,
            programs: tally.programs,
            programs_per_s: tally.programs as f64 / seconds,
            exits: tally.exits,
            vms_made: tally.made,
            features: features.iter().filter(|reached| **reached).count(),
            ends: tally.ends,
            interrupted: self.asked.load(Relaxed),
            broken: std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner)),
            host: Host::describe(),
        }
    }

    /// What others did is known to their threads alone, but for the number of guests.
    fn hangs(&self, program: u64) -> ! {
        let findings = vec![(Oracle::Limits, format!("it holds up its thread for more than {HANGS:?}"))];
        let outcome = Outcome::Lost("it hangs".to_owned());
        let case = of_seed(self.seed, program);
        self.keep(program, &Reproduction { case, outcome, trace: Trace::default(), findings });
        let tally = Tally { programs: self.done.load(Relaxed), ..Tally::default() };
        let report = self.report(Done { tally, ..Done::default() });
        // Whoever does not hear of it hears of its end.
        let _ = if self.args.json { print::json(&report) } else { show(&report.broken) };
        std::process::exit(i32::from(crate::cli::failure::NO));
    }
}

fn bar(time: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
    let length = if time == Duration::MAX { None } else { Some(time.as_millis() as u64) };
    ProgressBar::with_draw_target(length, indicatif::ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Done {
    fn add(&mut self, Self { tally, features, last }: Self) {
        let Tally { programs, exits, made, ends } = tally;
        self.tally.programs += programs;
        self.tally.exits += exits;
        self.tally.made += made;
        ends.into_iter().for_each(|(word, count)| *self.tally.ends.entry(word).or_default() += count);
        self.features.resize(features.len(), false);
        self.features.iter_mut().zip(features).for_each(|(sum, more)| *sum |= more);
        self.last = self.last.max(last);
    }
}

/// Runs a program once more, alone, and writes what it does.
fn record(file: &Path, seed: u64, program: u64) -> anyhow::Result<()> {
    let case = of_seed(seed, program);
    let verdict = Target::for_case(&case)?.run(&case)?;
    write(file, &Reproduction::of(&case, &verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_broken_promise_is_told_where_its_reproduction_can_not_be_written() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "").unwrap();
        let findings = vec![(Oracle::Limits, "too long".to_owned())];
        let outcome = Outcome::Exited(0);
        let found = Reproduction { case: of_seed(1, 2), outcome, trace: Trace::default(), findings };
        // A directory is made; a file is not made one.
        for (out, written) in [("made/here", true), ("file", false), ("file/below", false)] {
            let out = place.path().join(out);
            let args = Command::parse_from([Path::new("attack"), Path::new("--out"), &out]).args;
            let campaign = Campaign::new(&args, 1, Arc::default());
            campaign.keep(2, &found);
            let told = campaign.found.into_inner().unwrap();
            let file = written.then(|| out.join("limits-1-2.attack"));
            assert_eq!((told.len(), told[0].oracle.as_str(), &told[0].file), (1, "limits", &file));
            assert!(
                file.is_none_or(
                    |file| fs::read(file).is_ok_and(|bytes| Reproduction::parse(&bytes) == Ok(found.clone()))
                )
            );
        }
    }
}

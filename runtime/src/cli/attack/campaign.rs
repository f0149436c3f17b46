//! A campaign: generated guests, one after the other, on as many threads as asked for.

use super::{Args, Broken, print, show, write};
use crate::cli::{
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
    path::{Path, PathBuf},
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
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    stop: Arc<AtomicBool>,
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
    let time = args.time.unwrap_or(if args.programs.is_some() { Duration::MAX } else { TIME });
    let stop = stop_when_asked()?;
    let before = Resources::now()?;
    let campaign = Campaign {
        args,
        seed,
        begun: Instant::now(),
        time,
        next: AtomicU64::new(args.first),
        end: args.first.saturating_add(args.programs.unwrap_or(u64::MAX)),
        done: AtomicU64::new(0),
        stop,
        found: Mutex::default(),
    };
    if !args.json {
        print::line(format!("seed {seed}"))?;
    }
    let (tally, features) = campaign.run()?;
    let seconds = campaign.begun.elapsed().as_secs_f64();
    let mut broken = campaign.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let kept = Resources::kept_since(before)?;
    broken.extend(kept.iter().map(|finding| Broken::new(finding.oracle, &finding.detail)));
    let report = Report {
        seed,
        jobs: args.jobs,
        seconds,
        programs: tally.programs,
        programs_per_s: tally.programs as f64 / seconds,
        exits: tally.exits,
        vms_made: tally.made,
        features: features.iter().filter(|reached| **reached).count(),
        ends: tally.ends,
        broken,
        host: Host::describe(),
    };
    let said = if args.json { print::json(&report) } else { tell(&report) };
    said?;
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
    show(&report.broken)?;
    if report.broken.is_empty() { print::line("every promise held") } else { Ok(()) }
}

/// What is set by Ctrl-C, or a polite request to end: a campaign then says what it did, as at its end.
fn stop_when_asked() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&stop);
    let (caught, is_caught) = mpsc::sync_channel(1);
    thread::spawn(move || {
        block_on_one_thread::<()>(async {
            let interrupt = Interrupt::catch();
            let _ = caught.send(interrupt.is_ok());
            interrupt?.next().await;
            stops.store(true, Relaxed);
            // Its descriptors stay open, as those that are counted must.
            std::future::pending().await
        })
        .unwrap_or(());
    });
    anyhow::ensure!(is_caught.recv().is_ok_and(|caught| caught), "signals can't be caught");
    Ok(stop)
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).ok().context("the host has no random numbers")?;
    Ok(u64::from_le_bytes(bytes))
}

impl Campaign<'_> {
    fn run(&self) -> anyhow::Result<(Tally, Vec<bool>)> {
        let doing: Vec<Doing> = (0..self.args.jobs).map(|_| Doing::default()).collect();
        thread::scope(|scope| {
            let threads: Vec<_> = doing.iter().map(|doing| scope.spawn(|| self.attack(doing))).collect();
            self.watch(&doing)?;
            let mut sum = (Tally::default(), Vec::new());
            for thread in threads {
                let (tally, features) = thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
                add(&mut sum, tally, &features);
            }
            Ok(sum)
        })
    }

    fn attack(&self, doing: &Doing) -> anyhow::Result<(Tally, Vec<bool>)> {
        let attacked = self.attack_until_over(doing);
        doing.over.store(true, Relaxed);
        if attacked.is_err() {
            self.stop.store(true, Relaxed);
        }
        attacked
    }

    fn attack_until_over(&self, doing: &Doing) -> anyhow::Result<(Tally, Vec<bool>)> {
        let mut attacker = Attacker::new(&of_seed(self.seed, 0))?;
        let mut last = None;
        while !self.stop.load(Relaxed) && self.begun.elapsed() < self.time {
            let program = self.next.fetch_add(1, Relaxed);
            if program >= self.end {
                break;
            }
            doing.program.store(program, Relaxed);
            doing.since_ms.store(self.now_ms(), Relaxed);
            let found = attacker.run(&of_seed(self.seed, program))?;
            self.done.fetch_add(1, Relaxed);
            found.map_or(Ok(()), |found| self.keep(program, &found))?;
            last = Some(program);
        }
        doing.since_ms.store(self.now_ms(), Relaxed);
        if let Some(found) = attacker.finish()? {
            self.keep(last.unwrap_or_default(), &found)?;
        }
        if let (Some(file), Some(program)) = (&self.args.record, last) {
            record(file, self.seed, program)?;
        }
        Ok((attacker.tally(), attacker.features().to_vec()))
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Writes a reproduction.
    fn keep(&self, program: u64, reproduction: &Reproduction) -> anyhow::Result<()> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut broken = Broken::of(reproduction);
        fs::create_dir_all(&self.args.out).with_context(|| self.args.out.display().to_string())?;
        let oracle = broken.first().map_or("unknown", |broken| broken.oracle.as_str());
        let file: PathBuf = self.args.out.join(format!("{oracle}-{}-{program}.attack", self.seed));
        write(&file, reproduction)?;
        broken.iter_mut().for_each(|broken| broken.file = Some(file.clone()));
        found.extend(broken);
        if found.len() >= FINDINGS {
            self.stop.store(true, Relaxed);
        }
        Ok(())
    }

    /// Shows how it goes, and ends a campaign of which a thread hangs: nothing else could.
    fn watch(&self, doing: &[Doing]) -> anyhow::Result<()> {
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
                self.hangs(doing.program.load(Relaxed))?;
            }
        }
        shown.finish_and_clear();
        Ok(())
    }

    fn hangs(&self, program: u64) -> anyhow::Result<()> {
        let findings = vec![(Oracle::Limits, format!("it holds up its thread for more than {HANGS:?}"))];
        let outcome = Outcome::Lost("it hangs".to_owned());
        let case = of_seed(self.seed, program);
        self.keep(program, &Reproduction { case, outcome, trace: Trace::default(), findings })?;
        show(&self.found.lock().unwrap_or_else(PoisonError::into_inner))?;
        std::process::exit(i32::from(crate::cli::failure::NO));
    }
}

fn bar(time: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
    let length = if time == Duration::MAX { None } else { Some(time.as_millis() as u64) };
    ProgressBar::with_draw_target(length, indicatif::ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn add(sum: &mut (Tally, Vec<bool>), tally: Tally, features: &[bool]) {
    let Tally { programs, exits, made, ends } = tally;
    sum.0.programs += programs;
    sum.0.exits += exits;
    sum.0.made += made;
    ends.into_iter().for_each(|(word, count)| *sum.0.ends.entry(word).or_default() += count);
    sum.1.resize(features.len(), false);
    sum.1.iter_mut().zip(features).for_each(|(sum, more)| *sum |= more);
}

/// Runs a program once more, alone, and writes what it does.
fn record(file: &Path, seed: u64, program: u64) -> anyhow::Result<()> {
    let case = of_seed(seed, program);
    let verdict = Target::for_case(&case)?.run(&case)?;
    write(file, &Reproduction::of(&case, &verdict))
}

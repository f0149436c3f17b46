//! Waits for jobs to end, and shows what happens: a progress bar, their output, or JSON. Every result was verified
//! before it comes here.

use super::{
    advice::{self, Origin},
    connect::{Connected, PAUSES},
    failure::NO,
    keep::{self, Keep},
    lines::{Lines, void_note},
    print,
    result_line::ResultLine,
    units,
};
use crate::client::{
    check::Expectation,
    collect::{Finished, Seen},
    fetch::fetch,
    session::{Session, printable},
    watch::{Step, Watch},
};
use denali_protocol::job::Outcome;
use indicatif::{ProgressBar, ProgressStyle};

/// Most failed jobs of an array that are named one by one.
const NAMED_FAILURES: u32 = 10;

/// What to show while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nothing but a progress bar.
    Nothing,
    /// A line for a single job, a summary for an array.
    Summary,
    /// The jobs' output as it comes.
    Output,
    /// A line of JSON for each job that ended.
    Json,
}

/// Shows what happens to the jobs of one submission.
pub(crate) struct Waiter<'a> {
    show: Show,
    array: bool,
    keep: &'a Keep,
    expectation: &'a Expectation,
    lines: Lines,
    bar: ProgressBar,
    succeeded: u32,
    failed: u32,
    /// The exit status of a single job.
    status: u8,
}

impl<'a> Waiter<'a> {
    /// A waiter for `jobs` jobs; of an array, if `array`.
    pub(crate) fn new(show: Show, array: bool, jobs: u32, keep: &'a Keep, expectation: &'a Expectation) -> Self {
        let bar = match show {
            Show::Nothing | Show::Summary => bar(jobs),
            Show::Output | Show::Json => ProgressBar::hidden(),
        };
        let lines = Lines::new(array);
        Self { show, array, keep, expectation, lines, bar, succeeded: 0, failed: 0, status: 0 }
    }

    /// Waits until all have ended. Gives the exit status: the job's own for a single job, else 1 if any failed.
    pub(crate) async fn run(mut self, watch: &mut Watch<'_>, connected: &Connected) -> anyhow::Result<u8> {
        loop {
            match watch.next().await? {
                Step::Lost { why, wait } => {
                    self.note(format!("denali: {why}; trying again in {}", units::show_micros(units::micros(wait))));
                }
                Step::Found => self.note("denali: connected again".to_owned()),
                Step::Seen(Seen::Done) => break,
                Step::Seen(Seen::Ended(finished)) => {
                    self.ended(&finished)?;
                    self.fetch(watch, connected, &finished).await?;
                }
                Step::Seen(seen) => self.seen(seen)?,
            }
        }
        self.bar.finish_and_clear();
        self.summary(connected)?;
        Ok(if self.array { if self.failed > 0 { NO } else { 0 } } else { self.status })
    }

    fn seen(&mut self, seen: Seen) -> anyhow::Result<()> {
        match seen {
            Seen::Started { index, again: true } if self.show == Show::Output => {
                self.lines.forget(index);
                self.note(format!(
                    "denali: index {index} starts again: its VM was lost, and its output so far is void"
                ));
            }
            Seen::Output { index, channel, bytes, void } if self.show == Show::Output => {
                if let Some(void) = void.filter(|_| !is_file(&channel)) {
                    self.lines.void(index, &channel);
                    self.note(void_note(index, void));
                }
                self.lines.put(index, &channel, &bytes)?;
            }
            Seen::Progress { permille } if !self.array => {
                self.bar.set_length(1000);
                self.bar.set_position(permille.into());
            }
            _ => {}
        }
        Ok(())
    }

    fn ended(&mut self, finished: &Finished) -> anyhow::Result<()> {
        let (job, result) = (&self.expectation.job, &finished.result);
        self.status = result.outcome.exit_status();
        if result.outcome == Outcome::Exited(0) {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
        if self.array {
            self.bar.inc(1);
        }
        if let Some(void) = finished.void.filter(|_| self.show == Show::Output) {
            self.note(void_note(result.index, void));
            self.lines.anew(finished)?;
        }
        self.lines.end(result.index)?;
        self.keep.receipt(job, result.index, &result.receipt)?;
        if self.show == Show::Json {
            return print::json(&ResultLine::new(job, finished));
        }
        if self.show != Show::Nothing {
            self.explain(result.index, &result.outcome);
        }
        if self.show == Show::Summary && !self.array {
            let usage = &result.usage;
            let (cpu, wall) = (units::show_micros(usage.cpu_us), units::show_micros(usage.wall_us));
            let outcome = printable(&result.outcome.to_string());
            self.bar.suspend(|| print::line(format!("{job}: {outcome} (CPU time {cpu}, wall time {wall})")))?;
        }
        Ok(())
    }

    /// Why a job of an array failed, or a single job did not exit by itself.
    fn explain(&self, index: u32, outcome: &Outcome) {
        let reason = match advice::reason(outcome) {
            Some(reason) => reason,
            None if self.array && *outcome != Outcome::Exited(0) => outcome.to_string(),
            None => return,
        };
        if !self.array {
            self.note(format!("denali: {reason}"));
        } else if self.failed <= NAMED_FAILURES {
            self.note(format!("denali: index {index}: {reason}"));
        }
        // Once is enough: most failures of an array are the same.
        if self.failed == 1
            && let Some(hint) = advice::hint(outcome, Origin::Bundle)
        {
            self.note(format!("hint: {hint}"));
        }
    }

    /// Fetches the outputs of a job that has some, where they are to be kept. Over another connection where one breaks, as
    /// when the node is started anew: the watch finds out by itself.
    async fn fetch(&self, watch: &Watch<'_>, connected: &Connected, finished: &Finished) -> anyhow::Result<()> {
        let Some(directory) = &self.keep.outputs else { return Ok(()) };
        if finished.result.outputs.0.iter().all(|output| output.bytes == 0 && !is_file(&output.channel)) {
            return Ok(());
        }
        let mut session = watch.session().clone();
        let mut pauses = PAUSES.into_iter();
        let mut fetched = loop {
            match fetch(&session, self.expectation, finished.result.index, self.keep.limit_bytes).await {
                Err(why) if why.is_transient() => {
                    let Some(pause) = pauses.next() else { return Err(why.into()) };
                    self.note(format!("denali: {why}; trying again in {}", units::show_micros(units::micros(pause))));
                    tokio::time::sleep(pause).await;
                }
                fetched => break keep::advised(fetched)?,
            }
            match Session::open(&connected.target, &connected.key).await {
                Err(why) if why.is_transient() => {}
                opened => session = opened?,
            }
        };
        if self.array { keep::all(directory, &mut fetched) } else { keep::files(directory, &mut fetched) }
    }

    fn summary(&self, connected: &Connected) -> anyhow::Result<()> {
        if !self.array || self.show != Show::Summary {
            return Ok(());
        }
        let (job, succeeded, failed) = (&self.expectation.job, self.succeeded, self.failed);
        print::line(format!("{job}: {} jobs, {succeeded} succeeded, {failed} failed", succeeded + failed))?;
        if failed > 0 {
            print::note(format!("hint: denali result {job} --json {}", connected.options));
        }
        Ok(())
    }

    /// A line on standard error, above the progress bar.
    fn note(&self, text: String) {
        self.bar.suspend(|| print::note(text));
    }
}

fn is_file(channel: &denali_protocol::job::Channel) -> bool {
    matches!(channel, denali_protocol::job::Channel::File(_))
}

/// A progress bar on standard error, where someone watches it.
pub(crate) fn bar(jobs: u32) -> ProgressBar {
    if !print::watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(jobs.into());
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}

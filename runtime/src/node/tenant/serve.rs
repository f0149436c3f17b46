//! The task of one worker: starts it, reads what it reports, accounts for its runs when it is gone.

use super::{IDLE, Launcher, Process, Spawned};
use crate::{
    node::{engine::Engine, job::Run},
    worker::{Reports, Worker},
};
use denali_protocol::job::{Channel, Outcome, Usage};
use denali_vmm::worker::message::Report;
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

/// How often a worker's overdue runs and idleness are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Pauses before a worker that could not be started is tried again. After the last one its runs are lost.
const SPAWN_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

/// Reads the reports of one worker, the spare one or a new one, until it is dead or idle.
pub(super) async fn serve(
    engine: Weak<Engine>,
    process: Arc<Process>,
    launcher: Launcher,
    spare: Option<(Worker, Reports)>,
) {
    let spawned = match spare {
        Some(spare) => Ok(spare),
        None => spawn(launcher, &process).await,
    };
    let why = match spawned {
        Ok((worker, reports)) => {
            engine.upgrade().inspect(|engine| engine.tenants.note(&worker));
            process.adopt(worker);
            tokio::spawn(replace_spare(Weak::clone(&engine), launcher));
            read(&engine, &process, reports).await
        }
        Err(error) => format!("no worker could be started: {error}"),
    };
    let Some(engine) = engine.upgrade() else { return };
    let runs = process.close();
    engine.tenants.strike(&process);
    if !runs.is_empty() {
        tracing::warn!(client = %process.client.short(), runs = runs.len(), "a worker was lost: {why}");
    }
    for run in runs {
        engine.lost(&run, &why, Usage::default());
    }
}

async fn spawn(launcher: Launcher, process: &Process) -> Spawned {
    for pause in SPAWN_PAUSES {
        match launcher.launch().await {
            Err(error) if !process.state().closed => {
                tracing::warn!("a worker could not be started, trying again: {error}");
                tokio::time::sleep(pause).await;
            }
            spawned => return spawned,
        }
    }
    launcher.launch().await
}

/// Starts a spare worker where there is none. Should it fail, the next client's job finds out.
async fn replace_spare(engine: Weak<Engine>, launcher: Launcher) {
    let wanted = |engine: Arc<Engine>| !engine.is_stopping() && engine.tenants.claim_spare();
    if !engine.upgrade().is_some_and(wanted) {
        return;
    }
    let spare = launcher.launch().await.ok();
    if let Some(engine) = engine.upgrade() {
        let spare = spare.filter(|_| !engine.is_stopping());
        engine.tenants.keep_spare(spare);
    }
}

/// Reads reports until there are no more, and says why.
pub(super) async fn read(engine: &Weak<Engine>, process: &Process, mut reports: Reports) -> String {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Whoever follows it is told once all that it said by now is here.
    let mut spoke: Option<Arc<Run>> = None;
    loop {
        // In turns: a worker that never stops talking must not keep its runs from being overdue.
        tokio::select! {
            report = reports.next() => match report {
                Ok(report) => {
                    let Some(engine) = engine.upgrade() else { return "the node is stopping".to_owned() };
                    heed(&engine, process, report, &mut spoke);
                    if !reports.more_are_here() {
                        spoke.take().inspect(|run| run.job.wake());
                    }
                    // Thousands of reports may have been read at once: others have their turns, the clock among them.
                    tokio::task::consume_budget().await;
                }
                Err(death) => return death.to_string(),
            },
            _ = look.tick() => {
                if process.retire(IDLE) {
                    return "it was idle".to_owned();
                }
                if let Some(run) = process.overdue(Instant::now()) {
                    return format!("it did not end job {} in time", run.job.key.job);
                }
            }
        }
    }
}

/// One report, which follows the rules. Notes in `spoke` the run whose followers have something to see.
fn heed(engine: &Arc<Engine>, process: &Process, report: Report, spoke: &mut Option<Arc<Run>>) {
    let mut speaks = |run: Arc<Run>| {
        if let Some(before) = spoke.replace(run)
            && spoke.as_ref().is_some_and(|run| run.id != before.id)
        {
            before.job.wake();
        }
    };
    match report {
        Report::Ready(_) => {}
        Report::Status(status) => process.learn(&status, engine.tenants.bounds),
        Report::Started { run: id, vm, path } => {
            if let Some(run) = process.start(id) {
                let _ = run.vm.set((vm, path));
                speaks(run);
            }
        }
        Report::Output { run: id, channel, bytes } => {
            if let Some(run) = process.run(id)
                && keep(process, &run, channel, &bytes)
            {
                speaks(run);
            }
        }
        Report::Progress { run: id, permille } => {
            if let Some(run) = process.run(id)
                && run.permille.swap(permille, Ordering::Relaxed) != permille
            {
                speaks(run);
            }
        }
        Report::Ended { run: id, outcome, usage } => {
            // Its end tells them.
            spoke.take_if(|run| run.id == id);
            if let Some(given) = process.release(id, usage.cpu_us) {
                let (run, usage) = (&given.run, possible(usage, given.elapsed()));
                // Or this node, for want of room for its output.
                let cancelled = run.job.state().totals.cancelled || run.unkept.load(Ordering::Relaxed);
                match outcome {
                    // What the host was to blame for may go better another time.
                    Outcome::Lost(why) => engine.failed(run, why, usage),
                    // A worker that says so on its own does not speak for the client.
                    Outcome::Cancelled if !cancelled => engine.failed(run, "its worker cancelled it".to_owned(), usage),
                    outcome => engine.ended(run, outcome, usage),
                }
            }
        }
    }
}

/// What a worker says that a run used, as far as the time that passed here allows: the receipt is this node's word.
pub(super) fn possible(usage: Usage, elapsed: Duration) -> Usage {
    let most_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let (cpu_us, wall_us) = (usage.cpu_us.min(most_us), usage.wall_us.min(most_us));
    Usage { cpu_us, wall_us, start_us: usage.start_us.min(most_us), ..usage }
}

/// Keeps a piece of output; `false` where that is not wanted, or cannot be.
fn keep(process: &Process, run: &Run, channel: Channel, bytes: &[u8]) -> bool {
    if run.unkept.load(Ordering::Relaxed) {
        return false;
    }
    let kept = run.spool().append(channel, bytes);
    if let Err(error) = &kept {
        tracing::error!(job = %run.job.key.job, "its output cannot be kept, so it is stopped: {error}");
        run.unkept.store(true, Ordering::Relaxed);
        process.cancel(run.id);
    }
    kept.is_ok()
}

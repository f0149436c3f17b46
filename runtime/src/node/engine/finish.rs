//! Ending runs: result and receipt, one durable write, then the news.

use super::{
    Engine,
    start::{AGAIN, arguments},
    unix_ms,
};
use crate::node::{
    job::{LiveJob, Run},
    spool::Spool,
    store::{Applied, Op, OutputPlace, ResultRecord, Settled, StoreError, files::Finished},
};
use denali_protocol::{
    job::{Outcome, OutputDigests, Usage},
    receipt::{Receipt, StartPath, Statement, arguments_digest},
    wire::message::JobResult,
};
use std::sync::{Arc, atomic::Ordering};

/// Lost runs of one job that are tried again.
const RETRIES: u32 = 2;

/// With so many jobs on the node, a result waits a moment for others to go to the disk with it.
const MANY: u32 = 16;

/// What a run put out.
#[derive(Clone, Copy)]
struct Output {
    bytes: u64,
    is_in_file: bool,
}

impl Engine {
    /// A worker ended a run.
    pub(crate) fn ended(self: &Arc<Self>, run: &Arc<Run>, outcome: Outcome, usage: Usage) {
        let output = self.release(run);
        // The next one first: a worker that waits is worth more than a receipt that is early.
        self.kick();
        self.conclude(run, outcome, usage, output);
    }

    /// A run ends before a worker has seen it. Its slot is free again; whoever starts runs goes on.
    pub(super) fn settle(self: &Arc<Self>, run: &Arc<Run>, outcome: Outcome, usage: Usage) {
        let output = self.release(run);
        self.conclude(run, outcome, usage, output);
    }

    /// Frees a run's slot, and of its room what it did not use.
    fn release(&self, run: &Run) -> Output {
        let output = {
            let spool = run.spool();
            Output { bytes: spool.bytes(), is_in_file: spool.is_in_file() }
        };
        self.concluding.fetch_add(u32::from(output.is_in_file), Ordering::SeqCst);
        // In this order: with its headers, it may be more than it was granted.
        self.reserved.fetch_add(output.bytes, Ordering::SeqCst);
        self.reserved.fetch_sub(run.job.record.limits.output_bytes, Ordering::SeqCst);
        self.state().queue.ended(run.pick.client);
        output
    }

    fn conclude(self: &Arc<Self>, run: &Arc<Run>, outcome: Outcome, usage: Usage, output: Output) {
        if !output.is_in_file {
            return self.conclude_now(run, outcome, usage, output.bytes);
        }
        // Waits for the disk.
        let (engine, run) = (Arc::clone(self), Arc::clone(run));
        self.runtime.spawn_blocking(move || {
            engine.conclude_now(&run, outcome, usage, output.bytes);
            // Not before it is among what is unwritten, where something is to be written of it.
            engine.concluding.fetch_sub(1, Ordering::SeqCst);
            engine.written();
        });
    }

    /// `reserved` is room, which is given back once the store counts the output or nothing is left of it.
    fn conclude_now(self: &Arc<Self>, run: &Run, outcome: Outcome, usage: Usage, reserved: u64) {
        if run.job.state().refused {
            return self.discard(run, reserved);
        }
        if run.unkept.load(Ordering::Relaxed) {
            return self.unkept(run, usage, &StoreError::Full, reserved);
        }
        let finished = run.spool().finish();
        // Not under the spool's lock: followers read on while the disk works.
        match finished.and_then(|finished| self.store.files.keep_output(&finished).map(|()| finished)) {
            Ok(finished) => {
                run.spool().keep();
                self.write(run, outcome, usage, finished, reserved);
            }
            Err(error) => self.unkept(run, usage, &error, reserved),
        }
    }

    /// A run of a job that did not get onto the disk leaves nothing behind.
    fn discard(self: &Arc<Self>, run: &Run, reserved: u64) {
        run.job.change(|state| state.running.remove(&run.pick.index));
        self.throw_away(run);
        self.give_back(reserved);
    }

    /// Room for output is another's from here on.
    fn give_back(self: &Arc<Self>, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::SeqCst);
        self.written();
    }

    /// Before its room is given back: a run lives as long as somebody looks at it, and its output with it.
    fn throw_away(&self, run: &Run) {
        let output = std::mem::replace(&mut *run.spool(), Spool::new(Arc::clone(&self.store.files)));
        // Not under the spool's lock: a large file takes a while.
        drop(output);
    }

    /// The disk did not take a run's output: that is the result.
    fn unkept(self: &Arc<Self>, run: &Run, usage: Usage, error: &StoreError, reserved: u64) {
        run.unkept.store(true, Ordering::Relaxed);
        self.throw_away(run);
        let outcome = Outcome::Lost(format!("its output could not be kept: {error}"));
        self.write(run, outcome, usage, self.no_output(), reserved);
    }

    fn no_output(&self) -> Finished {
        let empty = Spool::new(Arc::clone(&self.store.files)).finish();
        // Nothing was written, so nothing can have failed.
        empty.unwrap_or_else(|_| Finished {
            outputs: OutputDigests::default(),
            place: OutputPlace::Inline,
            inline: Vec::new(),
            file: None,
            file_bytes: 0,
        })
    }

    /// A run is lost: its worker says that the host failed it. As [`Engine::lost`], a moment later: the host may have recovered
    /// by then.
    pub(crate) fn failed(self: &Arc<Self>, run: &Arc<Run>, why: String, usage: Usage) {
        let (engine, run) = (Arc::clone(self), Arc::clone(run));
        self.runtime.spawn(async move {
            tokio::time::sleep(AGAIN).await;
            engine.lost(&run, &why, usage);
        });
    }

    /// A run is lost: its worker died. Tried again, or that is the result.
    pub(crate) fn lost(self: &Arc<Self>, run: &Arc<Run>, why: &str, usage: Usage) {
        let (job, index) = (&run.job, run.pick.index);
        let (times, cancelled) = job.change(|state| {
            let times = state.lost.entry(index).or_default();
            *times += 1;
            (*times, state.totals.cancelled)
        });
        if cancelled {
            return self.ended(run, Outcome::Cancelled, usage);
        }
        if times > RETRIES {
            return self.ended(run, Outcome::Lost(why.to_owned()), usage);
        }
        self.put_back(run);
        self.kick();
    }

    /// A run ends without a result and waits again. Its slot is free.
    pub(super) fn put_back(&self, run: &Run) {
        run.job.change(|state| state.running.remove(&run.pick.index));
        self.throw_away(run);
        self.reserved.fetch_sub(run.job.record.limits.output_bytes, Ordering::SeqCst);
        self.state().queue.retry(run.pick, run.job.record.vms);
    }

    /// Ends jobs as cancelled that were never started. Waits for the disk now and then, so that a large array does not
    /// fill the memory with results.
    pub(crate) async fn end_unstarted(self: &Arc<Self>, job: &Arc<LiveJob>, indices: Vec<u32>) {
        for some in indices.chunks(256) {
            let (done, wait) = tokio::sync::oneshot::channel::<()>();
            let mut done = Some(done);
            for (at, index) in some.iter().enumerate() {
                let op = self.finish_op(job, None, *index, Outcome::Cancelled, Usage::default(), &mut self.no_output());
                let done = done.take_if(|_| at + 1 == some.len());
                let (engine, job, index) = (Arc::clone(self), Arc::clone(job), *index);
                self.store.write(op, move |outcome, op| {
                    let settled = engine.on_finish(job, index, false, &outcome, op, 0);
                    drop(done);
                    settled
                });
            }
            let _ = wait.await;
        }
    }

    fn write(self: &Arc<Self>, run: &Run, outcome: Outcome, usage: Usage, mut finished: Finished, reserved: u64) {
        let (index, succeeded) = (run.pick.index, outcome.exit_status() == 0);
        let op = self.finish_op(&run.job, Some(run), index, outcome, usage, &mut finished);
        let (engine, job) = (Arc::clone(self), Arc::clone(&run.job));
        let files = Arc::clone(&self.store.files);
        let state = run.job.state();
        if state.refused {
            drop(state);
            files.discard(&finished);
            return self.discard(run, reserved);
        }
        // Under the lock: once the job is refused, its name can be another's, whose acceptance the writer must not see
        // before this.
        self.store.write(op, move |outcome, op| {
            if matches!(outcome, Ok(Applied::Missing | Applied::EndedBefore { .. })) {
                files.discard(&finished);
            }
            engine.on_finish(job, index, succeeded, &outcome, op, reserved)
        });
    }

    fn finish_op(
        &self,
        job: &LiveJob,
        run: Option<&Run>,
        index: u32,
        outcome: Outcome,
        usage: Usage,
        finished: &mut Finished,
    ) -> Op {
        let ended_unix_ms = unix_ms();
        let (vm, start) = run.and_then(|run| run.vm.get().copied()).unzip();
        let statement = Statement {
            node: self.key.public(),
            client: job.key.client,
            job: job.key.job.clone(),
            index,
            bundle: job.record.bundle,
            arguments: arguments_digest(&arguments(&job.record.arguments, index)),
            input: job.record.input,
            vm,
            // Where there was no VM, no job was in it before.
            start: start.unwrap_or(StartPath::New),
            outcome: outcome.clone(),
            usage,
            output: finished.outputs.digest(),
            ended_unix_ms,
        };
        // Fails only above the limit, and the rules for workers keep an outcome's text far below.
        let receipt = Receipt::sign(&statement, &self.key).unwrap_or(Receipt(Vec::new()));
        let result = JobResult { index, outcome, usage, vm, outputs: std::mem::take(&mut finished.outputs), receipt };
        // Who saw output that could not be kept must start over: the receipt is over none.
        let run = run.filter(|run| !run.unkept.load(Ordering::Relaxed));
        let record = ResultRecord { result, run: run.map(|run| run.id.0), place: finished.place.clone() };
        Op::Finish {
            key: job.key.clone(),
            accepted_unix_us: job.record.accepted_unix_us,
            record: Box::new(record),
            output: std::mem::take(&mut finished.inline),
            file_bytes: finished.file_bytes,
            ended_unix_ms,
            patient: self.state().queue.len() >= MANY,
        }
    }

    /// A result is on the disk, or was there before (called by the writer).
    fn on_finish(
        self: &Arc<Self>,
        job: Arc<LiveJob>,
        index: u32,
        succeeded: bool,
        outcome: &Result<Applied, StoreError>,
        op: Op,
        reserved: u64,
    ) -> Settled {
        let succeeded = match outcome {
            Ok(Applied::Done) => Some(succeeded),
            Ok(Applied::EndedBefore { succeeded }) => Some(*succeeded),
            _ => None,
        };
        let mut lost = None;
        job.change(|state| {
            state.running.remove(&index);
            // One that was there before may be known: it costs a search then.
            let known = *outcome != Ok(Applied::Done) && state.ended.contains(&index);
            if let Some(succeeded) = succeeded.filter(|_| !known) {
                state.ended.push(index);
                let totals = &mut state.totals;
                let count = if succeeded { &mut totals.succeeded } else { &mut totals.failed };
                *count = count.saturating_add(1);
            }
            if let (Ok(Applied::Done), Op::Finish { record, output, .. }) = (outcome, op) {
                lost = Some(matches!(record.result.outcome, Outcome::Lost(_)));
                state.fresh.insert(index, Arc::new((*record, output)));
            }
        });
        lost.inspect(|lost| self.tenants.job_ended(job.key.client, *lost));
        self.written();
        let engine = Arc::clone(self);
        Some(Box::new(move || engine.on_settled(&job, index, reserved)))
    }

    /// A result can be read from the store (called by the writer).
    fn on_settled(self: &Arc<Self>, job: &LiveJob, index: u32, reserved: u64) {
        // Not before: what results hold is counted with the batch that they came with.
        self.give_back(reserved);
        let all = {
            let mut state = job.state();
            state.fresh.remove(&index);
            state.totals.ended() >= job.record.indices.count()
        };
        if all {
            self.forget(job);
        }
    }

    /// The disk took something (called by the writer): what was held back for it may go on.
    pub(super) fn written(self: &Arc<Self>) {
        if self.held_back.swap(false, Ordering::SeqCst) {
            let engine = Arc::clone(self);
            self.runtime.spawn(async move { engine.kick() });
        }
    }
}

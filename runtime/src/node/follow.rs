//! Telling a client how its job goes on, at the client's pace.
//!
//! A follower keeps places, not data: how far it is in the list of ended indices, and in the output of each run. What it
//! has not seen by the time a result is on the disk, it reads from there. So a slow one holds up nothing.

use super::{
    answer::{Answer, AnswerError},
    engine::{Engine, Existing},
    job::{Acceptance, LiveJob, Run},
    output::OutputReader,
    spool::Cursor,
    store::{JobKey, ResultRecord, StoreError},
};
use denali_protocol::{
    job::Channel,
    wire::message::{Event, Refusal, Response},
};
use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::Ordering},
};

/// Ended indices taken from a job's list at a time.
const ENDED_AT_ONCE: usize = 256;

/// Why a follower gets no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The client takes no more.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a follower has seen of one run.
struct View {
    run: Weak<Run>,
    id: u64,
    started: bool,
    cursor: Cursor,
    permille: u16,
    /// Bytes sent of each channel.
    sent: Vec<(Channel, u64)>,
}

/// Sends all events of a job, from its start to [`Event::Done`].
pub(crate) async fn follow(engine: &Arc<Engine>, key: &JobKey, answer: &mut Answer) -> Result<(), FollowError> {
    loop {
        match engine.existing(key)? {
            Some(Existing::Live(job)) => {
                // One that was not accepted is forgotten by now, and another has the name.
                if job.accepted().await? != Acceptance::Never {
                    return Follower { engine, answer, job: &job, views: HashMap::new() }.live().await;
                }
            }
            Some(Existing::Ended(_)) => return ended(engine, key, answer).await,
            None => {
                let refusal: Refusal = super::engine::not_found(key);
                return Ok(answer.say(&Response::Refused(refusal)).await?);
            }
        }
    }
}

/// All events of a job that is not live any more.
async fn ended(engine: &Arc<Engine>, key: &JobKey, answer: &mut Answer) -> Result<(), FollowError> {
    let mut next = engine.store.next_result(key, 0)?;
    while let Some(index) = next {
        if let Some((record, output)) = engine.store.result(key, index)? {
            send_result(engine, answer, record, output, &[], true).await?;
        }
        next = match index.checked_add(1) {
            Some(from) => engine.store.next_result(key, from)?,
            None => None,
        };
    }
    Ok(answer.say(&Response::Event(Event::Done)).await?)
}

/// A result: what was not `sent` of its output, then its end.
async fn send_result(
    engine: &Arc<Engine>,
    answer: &mut Answer,
    record: ResultRecord,
    output: Vec<u8>,
    sent: &[(Channel, u64)],
    announce: bool,
) -> Result<(), FollowError> {
    let index = record.result.index;
    if announce && record.result.vm.is_some() {
        answer.say(&Response::Event(Event::Started { index })).await?;
    }
    let mut reader = OutputReader::new(engine, &record, output);
    while let Some((channel, bytes)) = reader.next(sent).await? {
        answer.say(&Response::Event(Event::Output { index, channel, bytes })).await?;
    }
    Ok(answer.say(&Response::Event(Event::Ended(record.result))).await?)
}

struct Follower<'a> {
    engine: &'a Arc<Engine>,
    answer: &'a mut Answer,
    job: &'a Arc<LiveJob>,
    /// Runs that were seen and whose result was not.
    views: HashMap<u32, View>,
}

impl Follower<'_> {
    async fn live(mut self) -> Result<(), FollowError> {
        let mut changed = self.job.watch();
        let mut unwanted = std::pin::pin!(self.answer.unwanted());
        let mut told = 0;
        loop {
            changed.mark_unchanged();
            let (ended, running, all) = {
                let state = self.job.state();
                let last = state.ended.len().min(told + ENDED_AT_ONCE);
                let running: Vec<_> = state.running.iter().map(|(index, run)| (*index, Arc::downgrade(run))).collect();
                let all = state.totals.ended() >= self.job.record.indices.count() && last == state.ended.len();
                (state.ended[told..last].to_vec(), running, all)
            };
            told += ended.len();
            let more = ended.len() == ENDED_AT_ONCE;
            for index in ended {
                self.end(index).await?;
            }
            if all {
                return Ok(self.answer.say(&Response::Event(Event::Done)).await?);
            }
            for (index, run) in running {
                self.look(index, run).await?;
            }
            if !more {
                // The sender lives as long as the job does. Nothing else tells that the client is gone while the job
                // says nothing.
                tokio::select! {
                    _ = changed.changed() => {}
                    () = &mut unwanted => return Err(AnswerError::Unwanted.into()),
                }
            }
        }
    }

    /// A result is on the disk.
    async fn end(&mut self, index: u32) -> Result<(), FollowError> {
        let result = match self.job.fresh(index) {
            Some(fresh) => Some(fresh),
            None => self.engine.store.result(&self.job.key, index)?,
        };
        let Some((record, output)) = result else { return Ok(()) };
        let seen = self.views.remove(&index).filter(|view| Some(view.id) == record.run);
        let (sent, announce) = seen.map_or((Vec::new(), true), |view| (view.sent, !view.started));
        send_result(self.engine, self.answer, record, output, &sent, announce).await
    }

    /// What a run has said since.
    async fn look(&mut self, index: u32, run: Weak<Run>) -> Result<(), FollowError> {
        let Some(id) = run.upgrade().map(|run| run.id.0) else { return Ok(()) };
        let view = self.views.entry(index).or_insert_with(|| View::of(Weak::clone(&run), id));
        if view.id != id {
            *view = View::of(run, id);
        }
        while let Some(event) = view.next(index)? {
            self.answer.say(&Response::Event(event)).await?;
        }
        Ok(())
    }
}

impl View {
    fn of(run: Weak<Run>, id: u64) -> Self {
        Self { run, id, started: false, cursor: Cursor::default(), permille: u16::MAX, sent: Vec::new() }
    }

    /// The next thing to tell of the run. Holds the run for moments only.
    fn next(&mut self, index: u32) -> Result<Option<Event>, StoreError> {
        let Some(run) = self.run.upgrade() else { return Ok(None) };
        if run.vm.get().is_none() {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.started, true) {
            return Ok(Some(Event::Started { index }));
        }
        if let Some((channel, bytes)) = run.spool().read(&mut self.cursor)? {
            match self.sent.iter_mut().find(|(of, _)| *of == channel) {
                Some((_, sent)) => *sent += bytes.len() as u64,
                None => self.sent.push((channel.clone(), bytes.len() as u64)),
            }
            return Ok(Some(Event::Output { index, channel, bytes }));
        }
        let permille = run.permille.load(Ordering::Relaxed);
        if permille <= 1000 && std::mem::replace(&mut self.permille, permille) != permille {
            return Ok(Some(Event::Progress { index, permille }));
        }
        Ok(None)
    }
}

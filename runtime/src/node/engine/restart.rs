//! Taking up after a restart what was accepted before, and letting go of what has expired.

use super::{Engine, submit::held_bytes, unix_ms};
use crate::node::{
    job::{Acceptance, JobState, LiveJob},
    queue::Ticket,
    store::{Applied, JobKey, Op, StoreError, Unfinished, files::Kind},
};
use denali_protocol::job::Indices;
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

impl Engine {
    /// Queues every job that was accepted and has not ended. To be called once, before clients are served.
    pub(crate) fn take_up(self: &Arc<Self>) -> Result<u32, StoreError> {
        let mut unfinished = Vec::new();
        self.store.every_job(|key, record, totals| {
            // A job that is live counts its files itself.
            if totals.ended() < record.indices.count() {
                unfinished.push((record.accepted_unix_us, key));
            } else {
                self.use_files(&record);
            }
        })?;
        unfinished.sort();
        let mut jobs = 0_u32;
        for (_, key) in unfinished {
            if let Some(job) = self.resume(&key)? {
                jobs = jobs.saturating_add(job.record.indices.count() - job.state().totals.ended());
            }
        }
        self.kick();
        Ok(jobs)
    }

    /// Makes a job on the disk live, and queues what is left of it; nothing where nothing is. The caller kicks.
    pub(super) fn resume(self: &Arc<Self>, key: &JobKey) -> Result<Option<Arc<LiveJob>>, StoreError> {
        let mut state = self.state();
        if let Some(twin) = state.by_key.get(key) {
            return Ok(Some(Arc::clone(twin)));
        }
        // Read while nobody else can make it live: one that is not live now has all on the disk that it ever put there.
        let Some(Unfinished { record, totals, waiting }) = self.store.unfinished(key)? else { return Ok(None) };
        let ended = between(record.indices, &waiting);
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let progress = JobState { ended, totals, ..JobState::default() };
        let job = Arc::new(LiveJob::new(key.clone(), ticket, record, None, progress));
        job.accept(Ok(Acceptance::Before));
        self.use_files(&job.record);
        state.by_key.insert(key.clone(), Arc::clone(&job));
        state.by_ticket.insert(ticket, Arc::clone(&job));
        state.held_bytes = state.held_bytes.saturating_add(held_bytes(&job));
        if totals.cancelled {
            let (engine, cancelled) = (Arc::clone(self), Arc::clone(&job));
            let indices = waiting.into_iter().flat_map(|range| range.iter()).collect();
            self.runtime.spawn(async move { engine.end_unstarted(&cancelled, indices).await });
        } else {
            state.queue.submit(key.client, ticket, waiting, job.record.vms);
        }
        Ok(Some(job))
    }

    /// Removes results that are older than the policy says, and files that nothing needs any more.
    pub(crate) async fn expire(self: &Arc<Self>) -> Result<(), StoreError> {
        let age = self.policy.node.results_expire;
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let before_unix_ms = unix_ms().saturating_sub(age_ms);
        loop {
            let Applied::Expired(expired) = self.store.write_and_wait(Op::Expire { before_unix_ms }).await? else {
                break;
            };
            let files = &self.store.files;
            expired.bundles.iter().for_each(|digest| files.unuse(Kind::Bundle, *digest));
            expired.inputs.iter().for_each(|digest| files.unuse(Kind::Input, *digest));
            expired.outputs.iter().for_each(|(name, bytes)| files.remove_output(name, *bytes));
            if !expired.more {
                break;
            }
        }
        let files = Arc::clone(&self.store.files);
        let _ = tokio::task::spawn_blocking(move || files.expire(age)).await;
        if self.held_back.swap(false, Ordering::Relaxed) {
            self.kick();
        }
        Ok(())
    }
}

/// The indices in none of `waiting`, which are in order.
fn between(all: Indices, waiting: &VecDeque<Indices>) -> Vec<u32> {
    let mut ended = Vec::new();
    let mut next = u64::from(all.first);
    for range in waiting {
        ended.extend((next..u64::from(range.first)).filter_map(|index| u32::try_from(index).ok()));
        next = u64::from(range.last) + 1;
    }
    ended.extend((next..=u64::from(all.last)).filter_map(|index| u32::try_from(index).ok()));
    ended
}

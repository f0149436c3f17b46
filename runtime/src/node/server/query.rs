//! Requests that change nothing, and cancelling.

use super::{RequestError, gone};
use crate::node::{
    answer::Answer,
    engine::{Engine, not_found},
    follow::{self, FollowError},
    job::status as status_of,
    output::OutputReader,
    store::JobKey,
};
use denali_protocol::{
    identity::PublicKey,
    job::JobId,
    wire::message::{JobStatus, NodeInfo, Refusal, RefusalKind, Response},
};
use std::sync::Arc;

/// Jobs on one page of a list: with the longest names about as long as a piece of output.
const PAGE: usize = 64;

pub(super) fn info(engine: &Engine) -> NodeInfo {
    NodeInfo {
        node: engine.key.public(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu: engine.cpu,
        slots: engine.policy.node.slots,
        jail_lacks: engine.tenants.jail_lacks().to_vec(),
        unbounded: engine.tenants.unbounded().map(str::to_owned),
        unsigned: engine.policy.unsigned_grant().map(|grant| grant.limits),
    }
}

pub(super) fn status(engine: &Engine, client: PublicKey, job: JobId) -> Result<JobStatus, Refusal> {
    engine.status(&JobKey { client, job })
}

pub(super) async fn cancel(engine: &Arc<Engine>, client: PublicKey, job: JobId) -> Result<JobStatus, Refusal> {
    engine.cancel(&JobKey { client, job }).await
}

pub(super) async fn list(
    engine: &Engine,
    client: PublicKey,
    after: Option<JobId>,
    answer: &mut Answer,
) -> Result<(), RequestError> {
    // First, so that no page waits for its turn in memory.
    let turn = answer.turn().await;
    engine.store.settled().await;
    let page = page(engine, client, after)?;
    Ok(answer.say_in(turn, &page).await?)
}

fn page(engine: &Engine, client: PublicKey, after: Option<JobId>) -> Result<Response, Refusal> {
    let (jobs, more) = engine.store.list(client, after, PAGE)?;
    let jobs = jobs.into_iter().map(|(job, record, totals)| {
        let key = JobKey { client, job };
        engine.live(&key).map_or_else(|| status_of(&key, &record, totals, 0), |live| live.status())
    });
    Ok(Response::List { jobs: jobs.collect(), more })
}

pub(super) async fn follow(
    engine: &Arc<Engine>,
    client: PublicKey,
    job: JobId,
    answer: &mut Answer,
) -> Result<(), RequestError> {
    follow::follow(engine, &JobKey { client, job }, answer).await.map_err(|error| match error {
        FollowError::Answer(error) => error.into(),
        FollowError::Store(error) => RequestError::Refused(error.into()),
    })
}

pub(super) async fn result(
    engine: &Arc<Engine>,
    client: PublicKey,
    job: JobId,
    index: u32,
    answer: &mut Answer,
) -> Result<(), RequestError> {
    let key = JobKey { client, job };
    let Some((record, inline)) = engine.result(&key, index)? else {
        return Err(no_result(engine, &key, index).into());
    };
    let mut output = OutputReader::new(engine, &record, inline);
    answer.say(&Response::Result(record.result)).await?;
    // An error from here on cannot be told as a refusal: raw bytes were announced. The stream ends short.
    while let Some((_, bytes)) = output.next(&[]).await.map_err(gone)? {
        answer.bytes(bytes).await?;
    }
    Ok(())
}

fn no_result(engine: &Engine, key: &JobKey, index: u32) -> Refusal {
    match engine.record(key) {
        Ok(Some(record)) if record.indices.contains(index) => {
            Refusal { kind: RefusalKind::NotReady, message: format!("job {} has not ended yet", key.job) }
        }
        Ok(Some(record)) => Refusal {
            kind: RefusalKind::NotFound,
            message: format!(
                "job {} has indices {} to {}, not {index}",
                key.job, record.indices.first, record.indices.last
            ),
        },
        Ok(None) => not_found(key),
        Err(error) => error.into(),
    }
}

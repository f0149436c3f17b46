//! Submitting: everything is checked that can be before a byte is taken, and nothing is kept of what is refused.

use super::{Client, RequestError, body::Body, clients::Turn, invalid, query};
use crate::node::{
    answer::Answer,
    bundles::ReadError,
    engine::{Engine, Existing, Input, NewJob, not_found, unix_ms},
    job::Acceptance,
    policy::{self, Grant},
    store::{INLINE_INPUT_BYTES, JobKey, Upload, UploadError, files::Kind},
};
use denali_protocol::{
    bundle::Manifest,
    digest::Digest,
    wire::message::{Refusal, RefusalKind, Response, Submit},
};
use quinn::RecvStream;
use std::sync::Arc;

pub(super) async fn submit(
    engine: &Arc<Engine>,
    client: &Client,
    turn: Turn<'_>,
    submit: Submit,
    answer: &mut Answer,
    receive: &mut RecvStream,
) -> Result<(), RequestError> {
    let key = JobKey { client: client.key(), job: submit.job.clone() };
    let attach = submit.attach;
    let mut new = false;
    if !is_known(engine, &key, &submit).await? {
        let job = check_and_receive(engine, client, turn, submit.clone(), answer, receive).await?;
        new = match engine.take(job)? {
            Some(job) => job.accepted().await? == Acceptance::New,
            None => false,
        };
        // The name may have been taken while this one was being received.
        if !new && !is_known(engine, &key, &submit).await? {
            return Err(not_found(&key).into());
        }
    }
    // Of a job that was known, nobody reads the input: a client must not wait for that. Fails where all of it is here.
    let _ = receive.stop(0_u32.into());
    answer.say(&Response::Accepted { new }).await?;
    if attach { query::follow(engine, key.client, key.job, answer).await } else { Ok(()) }
}

/// Whether this very job is on the disk. Refused where another has its name.
async fn is_known(engine: &Arc<Engine>, key: &JobKey, submit: &Submit) -> Result<bool, Refusal> {
    while let Some(existing) = engine.existing(key)? {
        if let Existing::Live(job) = &existing
            && job.accepted().await? == Acceptance::Never
        {
            // Forgotten by now: another was there first.
            continue;
        }
        if existing.record().is_same(submit) {
            return Ok(true);
        }
        let message = format!("the name {} is taken by another job of yours; choose another", key.job);
        return Err(Refusal { kind: RefusalKind::Conflict, message });
    }
    Ok(false)
}

async fn check_and_receive(
    engine: &Arc<Engine>,
    client: &Client,
    turn: Turn<'_>,
    submit: Submit,
    answer: &mut Answer,
    receive: &mut RecvStream,
) -> Result<NewJob, RequestError> {
    submit.check().map_err(|error| invalid(error.to_string()))?;
    let key = JobKey { client: client.key(), job: submit.job.clone() };
    let signers = engine.bundles.signers(&submit.bundle, &submit.signatures, unix_ms() / 1000);
    let signers = signers.map_err(|error| invalid(error.to_string()))?;
    let grants = engine.policy.grants(&signers)?;
    engine.room(&key, submit.indices.count())?;
    // From here on neither file goes away.
    let files = &engine.store.files;
    let _bundle = files.pin(Kind::Bundle, submit.bundle);
    let _input = files.pin(Kind::Input, submit.input);
    engine.store_room(submit.input_bytes)?;
    let known = match engine.bundles.manifest(files, submit.bundle).await.map_err(refusal)? {
        Some(manifest) => {
            let grant = check_manifest(engine, &grants, &manifest)?;
            Some((manifest, grant))
        }
        None => None,
    };
    let input = receive_input(engine, client, turn, &submit, receive).await?;
    let (manifest, grant) = match known {
        Some(known) => known,
        None => receive_bundle(engine, client, &submit, &grants, answer, receive).await?,
    };
    Ok(NewJob { key, submit, input, grant, name: manifest.name.clone() })
}

fn check_manifest(engine: &Engine, grants: &[Grant], manifest: &Manifest) -> Result<Grant, Refusal> {
    if manifest.cpu > engine.cpu {
        let message = format!("the bundle needs a CPU of {}, this node offers {}", manifest.cpu, engine.cpu);
        return Err(Refusal { kind: RefusalKind::Denied, message });
    }
    policy::choose(grants, manifest)
}

fn refusal(error: ReadError) -> Refusal {
    match error {
        ReadError::Content(error) => invalid(format!("the bundle is refused: {error}")),
        ReadError::Store(error) => error.into(),
    }
}

async fn receive_input(
    engine: &Arc<Engine>,
    client: &Client,
    turn: Turn<'_>,
    submit: &Submit,
    receive: &mut RecvStream,
) -> Result<Input, RequestError> {
    if submit.input_bytes <= INLINE_INPUT_BYTES {
        let (mut input, mut body) = (Vec::new(), Body::new(receive, "input", submit.input_bytes));
        while let Some(bytes) = body.next().await? {
            input.extend_from_slice(&bytes);
        }
        let actual = Digest::of(&input);
        if actual != submit.input {
            let expected = submit.input;
            return Err(upload_refusal(UploadError::Digest { kind: "input", expected, actual }).into());
        }
        return Ok(Input::Inline(input));
    }
    // It goes to the disk, and has turns of its own. The semaphore is never closed.
    drop(turn);
    let _turn = client.uploads().acquire().await;
    let mut upload = engine.store.files.receive(Kind::Input, submit.input)?;
    Body::new(receive, "input", submit.input_bytes).save(&mut upload).await?;
    keep(upload).await?;
    Ok(Input::File)
}

async fn receive_bundle(
    engine: &Arc<Engine>,
    client: &Client,
    submit: &Submit,
    grants: &[Grant],
    answer: &mut Answer,
    receive: &mut RecvStream,
) -> Result<(Arc<Manifest>, Grant), RequestError> {
    engine.store_room(submit.bundle_bytes)?;
    // The semaphore is never closed.
    let _turn = client.uploads().acquire().await;
    answer.say(&Response::NeedBundle).await?;
    let mut upload = engine.store.files.receive(Kind::Bundle, submit.bundle)?;
    Body::new(receive, "bundle", submit.bundle_bytes).save(&mut upload).await?;
    upload.check().map_err(upload_refusal)?;
    let file = upload.reopen()?;
    let manifest = engine.bundles.read(file).await.map_err(refusal)?;
    let grant = check_manifest(engine, grants, &manifest)?;
    keep(upload).await?;
    engine.bundles.remember(submit.bundle, &manifest);
    Ok((manifest, grant))
}

async fn keep(upload: Upload) -> Result<(), Refusal> {
    match tokio::task::spawn_blocking(move || upload.keep()).await {
        Ok(kept) => kept.map_err(upload_refusal),
        Err(error) => Err(Refusal { kind: RefusalKind::Internal, message: error.to_string() }),
    }
}

fn upload_refusal(error: UploadError) -> Refusal {
    match error {
        UploadError::Digest { .. } => invalid(error.to_string()),
        UploadError::Store(error) => error.into(),
    }
}

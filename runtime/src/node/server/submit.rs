//! Submitting: everything is checked that can be before a byte is taken, and nothing is kept of what is refused.

use super::{Client, RequestError, STALL, clients::Turn, gone, invalid, query, say};
use crate::node::{
    bundles::ReadError,
    engine::{Engine, Existing, Input, NewJob, not_found, unix_ms},
    job::Acceptance,
    policy::{self, Grant},
    store::{INLINE_INPUT_BYTES, JobKey, Upload, UploadError, files::Kind},
};
use denali_protocol::{
    bundle::{Manifest, verify_signatures},
    digest::Digest,
    limits,
    wire::message::{Refusal, RefusalKind, Response, Submit},
};
use quinn::{RecvStream, SendStream};
use std::sync::Arc;

pub(super) async fn submit(
    engine: &Arc<Engine>,
    client: &Client,
    turn: Turn<'_>,
    submit: Submit,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), RequestError> {
    let key = JobKey { client: client.key(), job: submit.job.clone() };
    let attach = submit.attach;
    let mut new = false;
    if !is_known(engine, &key, &submit).await? {
        let job = check_and_receive(engine, client, turn, submit.clone(), send, receive).await?;
        new = match engine.take(job)? {
            Some(job) => job.accepted().await? == Acceptance::New,
            None => false,
        };
        // The name may have been taken while this one was being received.
        if !new && !is_known(engine, &key, &submit).await? {
            return Err(not_found(&key).into());
        }
    }
    say(send, &Response::Accepted { new }).await?;
    if attach { query::follow(engine, key.client, key.job, send).await } else { Ok(()) }
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
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<NewJob, RequestError> {
    check_sizes(&submit)?;
    let key = JobKey { client: client.key(), job: submit.job.clone() };
    let signers = verify_signatures(&submit.bundle, &submit.signatures, unix_ms() / 1000)
        .map_err(|error| invalid(error.to_string()))?;
    let grants = engine.policy.grants(&signers)?;
    engine.room(&key, submit.indices.count())?;
    // From here on neither file goes away.
    let files = &engine.store.files;
    let _bundle = files.pin(Kind::Bundle, submit.bundle);
    let _input = files.pin(Kind::Input, submit.input);
    engine.store_room(submit.input_bytes)?;
    let input = receive_input(engine, client, turn, &submit, receive).await?;
    let known = engine.bundles.manifest(files, submit.bundle).await.map_err(refusal)?;
    let (manifest, grant) = match known {
        Some(manifest) => {
            let grant = check_manifest(engine, &grants, &manifest)?;
            (manifest, grant)
        }
        None => receive_bundle(engine, client, &submit, &grants, send, receive).await?,
    };
    Ok(NewJob { key, submit, input, grant, name: manifest.name.clone() })
}

fn check_sizes(submit: &Submit) -> Result<(), Refusal> {
    submit.indices.check().map_err(|error| invalid(error.to_string()))?;
    let arguments: usize = submit.arguments.iter().map(String::len).sum();
    let rows = [
        ("arguments", submit.arguments.len() as u64, limits::ARGUMENTS as u64),
        ("bytes of arguments", arguments as u64, limits::ARGUMENTS_BYTES as u64),
        ("bytes of input", submit.input_bytes, limits::INPUT_BYTES),
        ("bytes of bundle", submit.bundle_bytes, limits::BUNDLE_BYTES),
    ];
    match rows.into_iter().find(|(_, asked, limit)| asked > limit) {
        Some((unit, asked, limit)) => Err(invalid(format!("{asked} {unit}, more than the limit of {limit}"))),
        None => Ok(()),
    }
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

/// Raw bytes that a client announced, as they come.
struct Body<'a> {
    receive: &'a mut RecvStream,
    what: &'static str,
    left: u64,
}

impl Body<'_> {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, RequestError> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(limits::FRAME_BYTES);
        let (what, left) = (self.what, self.left);
        match tokio::time::timeout(STALL, self.receive.read_chunk(most, true)).await {
            Ok(Ok(Some(chunk))) => {
                self.left -= chunk.bytes.len() as u64;
                Ok(Some(chunk.bytes))
            }
            Ok(Ok(None)) => Err(invalid(format!("the {what} ended {left} bytes early")).into()),
            Ok(Err(error)) => Err(gone(error)),
            Err(_) => {
                Err(invalid(format!("the {what} stalled for {} s with {left} bytes to go", STALL.as_secs())).into())
            }
        }
    }

    /// Writes all of it to `upload`.
    async fn save(mut self, upload: &mut Upload) -> Result<(), RequestError> {
        while let Some(bytes) = self.next().await? {
            upload.write(&bytes)?;
        }
        Ok(())
    }
}

async fn receive_input(
    engine: &Arc<Engine>,
    client: &Client,
    turn: Turn<'_>,
    submit: &Submit,
    receive: &mut RecvStream,
) -> Result<Input, RequestError> {
    let mut body = Body { receive, what: "input", left: submit.input_bytes };
    if submit.input_bytes <= INLINE_INPUT_BYTES {
        let mut input = Vec::new();
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
    body.save(&mut upload).await?;
    keep(upload).await?;
    Ok(Input::File)
}

async fn receive_bundle(
    engine: &Arc<Engine>,
    client: &Client,
    submit: &Submit,
    grants: &[Grant],
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(Arc<Manifest>, Grant), RequestError> {
    engine.store_room(submit.bundle_bytes)?;
    // The semaphore is never closed.
    let _turn = client.uploads().acquire().await;
    say(send, &Response::NeedBundle).await?;
    let mut upload = engine.store.files.receive(Kind::Bundle, submit.bundle)?;
    Body { receive, what: "bundle", left: submit.bundle_bytes }.save(&mut upload).await?;
    upload.check().map_err(upload_refusal)?;
    let file = upload.reopen()?;
    let manifest = engine.bundles.read(submit.bundle, file).await.map_err(refusal)?;
    let grant = check_manifest(engine, grants, &manifest)?;
    keep(upload).await?;
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

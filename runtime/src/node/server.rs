//! The node's side of a connection: one task a connection, one a request. What clients may do to each other is bounded
//! here: handshakes, connections, requests, uploads, answers.

mod body;
mod clients;
mod query;
mod submit;

use super::{
    answer::{ANSWERS, Answer, AnswerError},
    engine::Engine,
};
use crate::transport::{self, ReceiveError, SendError};
use clients::{Arrival, Client, Clients};
use denali_protocol::{
    limits::ECHO_BYTES,
    wire::message::{Refusal, RefusalKind, Request, Response},
};
use quinn::{Connection, Endpoint, Incoming, RecvStream};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Handshakes under way at once. More are refused.
const HANDSHAKES: usize = 256;

/// From this many handshakes on, a client has to show first that its address is its own.
const UNPROVEN_HANDSHAKES: usize = 32;

/// A client that has not shaken hands by then is given up.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A request has to be here this long after its turn has come: what is long follows it as raw bytes.
const REQUEST: Duration = Duration::from_secs(5);

/// A connection without any request for so long is closed: others may need its place.
const IDLE: Duration = Duration::from_secs(60);

/// Why a request has no good end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The node says no, and why.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The client is gone: nobody is there to be told.
    #[error("the client is gone: {0}")]
    Gone(String),
}

impl<T: Into<Refusal>> From<T> for RequestError {
    fn from(refusal: T) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<AnswerError> for RequestError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Send(SendError::Encode(error)) => Self::Refused(Refusal {
                kind: RefusalKind::Internal,
                message: format!("the answer cannot be sent: {error}"),
            }),
            error => gone(error),
        }
    }
}

pub(super) fn gone(error: impl std::fmt::Display) -> RequestError {
    RequestError::Gone(error.to_string())
}

pub(super) fn invalid(message: String) -> Refusal {
    Refusal { kind: RefusalKind::Invalid, message }
}

/// Serves clients until the endpoint is closed.
pub(crate) async fn serve(engine: Arc<Engine>, endpoint: Endpoint) {
    let (clients, handshakes) = (Arc::new(Clients::default()), Arc::new(Semaphore::new(HANDSHAKES)));
    while let Some(incoming) = endpoint.accept().await {
        let Some(arrival) = clients.arrived(incoming.remote_address().ip()) else {
            incoming.refuse();
            continue;
        };
        let Ok(turn) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let busy = HANDSHAKES - handshakes.available_permits() > UNPROVEN_HANDSHAKES;
        if busy && incoming.may_retry() && !incoming.remote_address_validated() {
            // Fails only where `may_retry` says no.
            let _ = incoming.retry();
            continue;
        }
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            if let Some(connection) = shake_hands(incoming).await {
                drop(turn);
                serve_connection(&engine, &arrival, connection).await;
            }
        });
    }
}

async fn shake_hands(incoming: Incoming) -> Option<Connection> {
    let address = incoming.remote_address();
    match tokio::time::timeout(HANDSHAKE, incoming).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%address, "no connection: {error}");
            None
        }
        Err(_) => None,
    }
}

async fn serve_connection(engine: &Arc<Engine>, arrival: &Arrival, connection: Connection) {
    let Some(key) = transport::peer_key(&connection) else { return };
    // Counted as long as this function runs, and not while a request takes longer to notice that its client is gone.
    let Some((client, _counted)) = arrival.connected(key) else {
        return connection.close(1_u32.into(), b"too many connections");
    };
    let (client, answers) = (Arc::new(client), Arc::new(Semaphore::new(ANSWERS)));
    tracing::debug!(client = %key.short(), address = %connection.remote_address(), "connected");
    loop {
        match tokio::time::timeout(IDLE, connection.accept_bi()).await {
            Ok(Ok((send, receive))) => {
                let answer = Answer::new(send, Arc::clone(&answers));
                tokio::spawn(serve_request(Arc::clone(engine), Arc::clone(&client), answer, receive));
            }
            Ok(Err(_)) => return,
            // Each request has a share of it.
            Err(_) if Arc::strong_count(&client) > 1 => {}
            Err(_) => return connection.close(0_u32.into(), b"no request for too long"),
        }
    }
}

async fn serve_request(engine: Arc<Engine>, client: Arc<Client>, mut answer: Answer, mut receive: RecvStream) {
    let served = serve_one(&engine, &client, &mut answer, &mut receive).await;
    // Whatever else a client sends on this stream, it must not wait for it to be read.
    drop(receive);
    match served {
        Ok(()) => {}
        Err(RequestError::Gone(why)) => return tracing::debug!(client = %client.key().short(), "{why}"),
        Err(RequestError::Refused(refusal)) => {
            if refusal.kind == RefusalKind::Internal {
                tracing::error!(client = %client.key().short(), "a request failed: {}", refusal.message);
            }
            // A client that is not there to hear it is no concern of the node's.
            let _ = answer.say(&Response::Refused(refusal)).await;
        }
    }
    answer.finish().await;
}

async fn serve_one(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    answer: &mut Answer,
    receive: &mut RecvStream,
) -> Result<(), RequestError> {
    let turn = tokio::select! {
        turn = client.turn() => turn,
        () = answer.unwanted() => return Err(AnswerError::Unwanted.into()),
    };
    let request = match tokio::time::timeout(REQUEST, transport::read_frame(receive)).await {
        Ok(Ok(request)) => request,
        Ok(Err(ReceiveError::Frame(error))) => return Err(invalid(error.to_string()).into()),
        Ok(Err(error @ ReceiveError::CutShort)) => return Err(invalid(error.to_string()).into()),
        Ok(Err(error)) => return Err(gone(error)),
        Err(_) => return Err(invalid(format!("no request arrived within {} s", REQUEST.as_secs())).into()),
    };
    if !(request == Request::Top && engine.is_operator(client.key())) {
        engine.policy.admit(client.key())?;
    }
    // Held on while the input of a submission arrives. Any other request is here in full.
    let turn = if matches!(request, Request::Submit(_)) { turn } else { Default::default() };
    let key = client.key();
    match request {
        Request::Submit(submit) => return submit::submit(engine, client, turn, submit, answer, receive).await,
        Request::Follow(job) => return query::follow(engine, key, job, answer).await,
        Request::Result { job, index } => return query::result(engine, key, job, index, answer).await,
        Request::List { after } => return query::list(engine, key, after, answer).await,
        Request::Info => answer.say(&Response::Info(query::info(engine))).await?,
        Request::Status(job) => answer.say(&Response::Status(query::status(engine, key, job)?)).await?,
        Request::Cancel(job) => answer.say(&Response::Status(query::cancel(engine, key, job).await?)).await?,
        Request::Echo(bytes) if bytes.len() > ECHO_BYTES => {
            let message = format!("an echo of {} bytes, more than the limit of {ECHO_BYTES}", bytes.len());
            return Err(invalid(message).into());
        }
        Request::Top => answer.say(&Response::Top(Box::new(engine.top(key)))).await?,
        Request::Echo(bytes) => answer.say(&Response::Echo(bytes)).await?,
    }
    Ok(())
}

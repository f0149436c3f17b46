//! The node's side of a connection: one task a connection, one a request. What clients may do to each other is bounded
//! here: handshakes, connections, uploads.

mod clients;
mod query;
mod submit;

use super::engine::Engine;
use crate::transport::{self, ReceiveError, SendError, write_frame};
use clients::{Client, Clients};
use denali_protocol::wire::message::{Refusal, RefusalKind, Request, Response};
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Handshakes under way at once. More are refused.
const HANDSHAKES: usize = 256;

/// From this many handshakes on, a client has to show first that its address is its own.
const UNPROVEN_HANDSHAKES: usize = 32;

/// A client that is silent for so long where it has something to say is given up.
pub(super) const STALL: Duration = Duration::from_secs(30);

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
        let (engine, clients) = (Arc::clone(&engine), Arc::clone(&clients));
        tokio::spawn(async move {
            if let Some(connection) = shake_hands(incoming).await {
                drop(turn);
                serve_connection(&engine, &clients, connection).await;
            }
        });
    }
}

async fn shake_hands(incoming: Incoming) -> Option<Connection> {
    let address = incoming.remote_address();
    match tokio::time::timeout(STALL, incoming).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%address, "no connection: {error}");
            None
        }
        Err(_) => None,
    }
}

async fn serve_connection(engine: &Arc<Engine>, clients: &Arc<Clients>, connection: Connection) {
    let Some(key) = transport::peer_key(&connection) else { return };
    let Some(client) = clients.connected(key) else {
        return connection.close(1_u32.into(), b"too many connections");
    };
    let client = Arc::new(client);
    tracing::debug!(client = %key.short(), address = %connection.remote_address(), "connected");
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(serve_request(Arc::clone(engine), Arc::clone(&client), send, receive));
    }
}

async fn serve_request(engine: Arc<Engine>, client: Arc<Client>, mut send: SendStream, mut receive: RecvStream) {
    let refusal = match answer(&engine, &client, &mut send, &mut receive).await {
        Ok(()) => return drop(send.finish()),
        Err(RequestError::Refused(refusal)) => refusal,
        Err(RequestError::Gone(why)) => return tracing::debug!(client = %client.key().short(), "{why}"),
    };
    if refusal.kind == RefusalKind::Internal {
        tracing::error!(client = %client.key().short(), "a request failed: {}", refusal.message);
    }
    // A client that is not there to hear it is no concern of the node's.
    let _ = write_frame(&mut send, &Response::Refused(refusal)).await;
    let _ = send.finish();
}

async fn answer(
    engine: &Arc<Engine>,
    client: &Arc<Client>,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), RequestError> {
    let turn = client.turn().await;
    let request = match tokio::time::timeout(STALL, transport::read_frame(receive)).await {
        Ok(Ok(request)) => request,
        Ok(Err(ReceiveError::Frame(error))) => return Err(invalid(error.to_string()).into()),
        Ok(Err(error @ ReceiveError::CutShort)) => return Err(invalid(error.to_string()).into()),
        Ok(Err(error)) => return Err(gone(error)),
        Err(_) => return Err(invalid("no request arrived on this stream".to_owned()).into()),
    };
    engine.policy.admit(client.key())?;
    // Held on while the input of a submission arrives. Any other request is here in full.
    let turn = if matches!(request, Request::Submit(_)) { turn } else { Default::default() };
    match request {
        Request::Submit(submit) => submit::submit(engine, client, turn, submit, send, receive).await,
        Request::Follow(job) => query::follow(engine, client.key(), job, send).await,
        Request::Result { job, index } => query::result(engine, client.key(), job, index, send).await,
        Request::Info => say(send, &Response::Info(query::info(engine))).await,
        Request::Status(job) => say(send, &Response::Status(query::status(engine, client.key(), job)?)).await,
        Request::List { after } => say(send, &query::list(engine, client.key(), after)?).await,
        Request::Cancel(job) => say(send, &Response::Status(query::cancel(engine, client.key(), job).await?)).await,
        Request::Echo(bytes) => say(send, &Response::Echo(bytes)).await,
    }
}

pub(super) async fn say(send: &mut SendStream, response: &Response) -> Result<(), RequestError> {
    write_frame(send, response).await.map_err(|error| match error {
        SendError::Encode(error) => RequestError::Refused(Refusal {
            kind: RefusalKind::Internal,
            message: format!("the answer cannot be sent: {error}"),
        }),
        SendError::Write(error) => gone(error),
    })
}

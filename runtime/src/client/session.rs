//! Requests on one connection to a node: a stream each, typed answers, and every answer of the wrong kind refused.

use super::target::Target;
use crate::transport::{self, ConnectError, ReceiveError, SendError};
use denali_protocol::{
    bundle::path::is_control,
    identity::KeyPair,
    job::JobId,
    wire::message::{Event, JobResult, JobStatus, NodeInfo, Refusal, Request, Response, Submit, Top},
};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use std::{future::Future, time::Duration};
use tokio::time::timeout;

/// How long the last packet may take to leave, in milliseconds.
const GOODBYE_MS: u32 = 100;

/// A node that neither takes what it is sent nor answers what it was asked for so long is given up. Events are not due:
/// a job may wait in a queue for days.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// Bytes of a body that a node must take within [`ANSWER_TIMEOUT`].
const BODY_PIECE_BYTES: usize = 256 * 1024;

/// Why a request has no answer. Whatever a node has part in is printable, and on one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// There is no connection.
    #[error("{}", printable(&.0.to_string()))]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the connection broke: {}", printable(&.0.to_string()))]
    Broken(#[from] ConnectionError),
    /// The request could not be sent.
    #[error("{}", printable(&.0.to_string()))]
    Send(#[from] SendError),
    /// No whole answer arrived.
    #[error("{}", printable(&.0.to_string()))]
    Receive(#[from] ReceiveError),
    /// The node says no.
    #[error("the node refused: {}", printable(&.0.message))]
    Refused(Refusal),
    /// The connection is there, and nothing comes. The node is at fault.
    #[error("the node keeps the connection, and has not answered for {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    /// The node's answer belongs to another question. The node is at fault.
    #[error("the node gave an answer that is none to a request for {0}")]
    Unexpected(&'static str),
}

impl SessionError {
    /// Whether a new connection may help: the network or the node went away, and nobody lied.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) => matches!(error, ConnectError::NoAnswer { .. } | ConnectError::Failed { .. }),
            Self::Broken(_) | Self::Send(SendError::Write(_)) => true,
            Self::Receive(error) => !matches!(error, ReceiveError::Frame(_)),
            Self::Send(SendError::Encode(_)) | Self::Refused(_) | Self::Silent | Self::Unexpected(_) => false,
        }
    }
}

/// Text of a peer without what could move a terminal's cursor or turn its text around.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect()
}

/// The same for text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// A connection to a node.
#[derive(Clone, Debug)]
pub(crate) struct Session(Connection);

/// The events of a followed job.
#[derive(Debug)]
pub(crate) struct Events(RecvStream);

impl Events {
    /// The next event.
    pub(crate) async fn next(&mut self) -> Result<Event, SessionError> {
        match receive(&mut self.0).await? {
            Response::Event(event) => Ok(event),
            _ => Err(SessionError::Unexpected("events")),
        }
    }
}

impl Session {
    /// Connects to `target` as the client of `key`.
    pub(crate) async fn open(target: &Target, key: &KeyPair) -> Result<Self, SessionError> {
        Ok(Self(transport::connect(target.socket, target.node, key).await?))
    }

    /// Says goodbye, so that the node need not wait for more.
    pub(crate) async fn close(self) {
        let sent = self.0.stats().udp_tx.datagrams;
        self.0.close(VarInt::from_u32(0), b"");
        // The connection's task sends the last packet. Should the process end before, the node would keep the connection
        // until it is idle for too long, and a client may have only so many.
        for _ in 0..GOODBYE_MS {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.0.stats().udp_tx.datagrams > sent {
                break;
            }
        }
    }

    async fn send(&self, request: &Request) -> Result<(SendStream, RecvStream), SessionError> {
        within(async {
            let (mut send, receive) = self.0.open_bi().await?;
            transport::write_frame(&mut send, request).await?;
            Ok((send, receive))
        })
        .await
    }

    /// Sends a request that has no body, and gives the stream of its answer.
    async fn ask(&self, request: &Request) -> Result<RecvStream, SessionError> {
        let (mut send, receive) = self.send(request).await?;
        // Fails only for a stream that is finished or reset already.
        let _ = send.finish();
        Ok(receive)
    }

    /// What the node says of itself.
    pub(crate) async fn info(&self) -> Result<NodeInfo, SessionError> {
        match answer(&mut self.ask(&Request::Info).await?).await? {
            Response::Info(info) => Ok(info),
            _ => Err(SessionError::Unexpected("node information")),
        }
    }

    /// What the node does at this moment.
    pub(crate) async fn top(&self) -> Result<Box<Top>, SessionError> {
        match answer(&mut self.ask(&Request::Top).await?).await? {
            Response::Top(top) => Ok(top),
            _ => Err(SessionError::Unexpected("what it does")),
        }
    }

    /// Has the node send `bytes` back.
    pub(crate) async fn echo(&self, bytes: Vec<u8>) -> Result<(), SessionError> {
        let length = bytes.len();
        match answer(&mut self.ask(&Request::Echo(bytes)).await?).await? {
            Response::Echo(back) if back.len() == length => Ok(()),
            _ => Err(SessionError::Unexpected("an echo")),
        }
    }

    /// Where a job stands.
    pub(crate) async fn status(&self, job: &JobId) -> Result<JobStatus, SessionError> {
        self.status_after(&Request::Status(job.clone()), job).await
    }

    /// Cancels a job, and says where it stands.
    pub(crate) async fn cancel(&self, job: &JobId) -> Result<JobStatus, SessionError> {
        self.status_after(&Request::Cancel(job.clone()), job).await
    }

    async fn status_after(&self, request: &Request, job: &JobId) -> Result<JobStatus, SessionError> {
        match answer(&mut self.ask(request).await?).await? {
            Response::Status(status) if status.job == *job => Ok(status),
            _ => Err(SessionError::Unexpected("a job's status")),
        }
    }

    /// A page of the client's jobs, after a name, and whether more follow.
    pub(crate) async fn list(&self, after: Option<JobId>) -> Result<(Vec<JobStatus>, bool), SessionError> {
        let mut receive = self.ask(&Request::List { after: after.clone() }).await?;
        let Response::List { jobs, more } = answer(&mut receive).await? else {
            return Err(SessionError::Unexpected("a list of jobs"));
        };
        // Names that do not go on upwards would keep the client asking for ever.
        let names: Vec<_> = after.iter().chain(jobs.iter().map(|status| &status.job)).collect();
        if !names.is_sorted_by(|a, b| a < b) || (more && jobs.is_empty()) {
            return Err(SessionError::Unexpected("a list of jobs in order"));
        }
        Ok((jobs, more))
    }

    /// The events of a job, from its start.
    pub(crate) async fn follow(&self, job: &JobId) -> Result<Events, SessionError> {
        Ok(Events(self.ask(&Request::Follow(job.clone())).await?))
    }

    /// A job's result, and the stream of its outputs' bytes.
    pub(crate) async fn result(&self, job: &JobId, index: u32) -> Result<(JobResult, RecvStream), SessionError> {
        let mut receive = self.ask(&Request::Result { job: job.clone(), index }).await?;
        match answer(&mut receive).await? {
            Response::Result(result) if result.index == index => Ok((result, receive)),
            _ => Err(SessionError::Unexpected("a job's result")),
        }
    }

    /// Submits a job with its input, and the bundle's content where the node lacks it. Says whether the job is new
    /// there, and gives its events if `submit` asks to attach.
    pub(crate) async fn submit(
        &self,
        submit: &Submit,
        input: &[u8],
        content: &[u8],
    ) -> Result<(bool, Events), SessionError> {
        let (mut send, mut receive) = self.send(&Request::Submit(submit.clone())).await?;
        write_body(&mut send, input).await?;
        let mut response = answer(&mut receive).await?;
        if response == Response::NeedBundle {
            write_body(&mut send, content).await?;
            response = answer(&mut receive).await?;
        }
        let _ = send.finish();
        match response {
            Response::Accepted { new } => Ok((new, Events(receive))),
            _ => Err(SessionError::Unexpected("a job to be accepted")),
        }
    }
}

/// Gives up on a node that lets the client wait.
pub(super) async fn within<T>(due: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
    timeout(ANSWER_TIMEOUT, due).await.unwrap_or(Err(SessionError::Silent))
}

/// Sends a body, as far as the node wants it: one that stops it has answered already.
async fn write_body(send: &mut SendStream, body: &[u8]) -> Result<(), SessionError> {
    for piece in body.chunks(BODY_PIECE_BYTES) {
        if !within(async { Ok(transport::write_body(send, piece).await?) }).await? {
            break;
        }
    }
    Ok(())
}

/// Reads an answer that is due.
async fn answer(stream: &mut RecvStream) -> Result<Response, SessionError> {
    within(receive(stream)).await
}

/// Reads a message; a refusal is an error.
async fn receive(receive: &mut RecvStream) -> Result<Response, SessionError> {
    match transport::read_frame(receive).await? {
        Response::Refused(refusal) => Err(SessionError::Refused(refusal)),
        response => Ok(response),
    }
}

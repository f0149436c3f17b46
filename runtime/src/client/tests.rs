//! The client against scripted nodes on loopback: lost connections, and lies.

use super::{
    check::{
        Lie,
        tests::{expectation, node_key, result},
    },
    collect::{Jobs, Seen},
    fetch::{FetchError, fetch},
    session::{Session, SessionError},
    target::Target,
    watch::{Step, Watch, WatchError},
};
use crate::transport::{read_frame, server_endpoint, write_body, write_frame};
use denali_protocol::{
    bundle::path::is_control,
    digest::Digest,
    identity::KeyPair,
    job::{Channel, Indices},
    wire::message::{Event, Refusal, RefusalKind, Request, Response, Submit},
};
use quinn::{RecvStream, SendStream};
use std::net::{Ipv4Addr, SocketAddr};

/// What a node answers to the next request, whatever it is.
struct Reply {
    responses: Vec<Response>,
    raw: &'static [u8],
    /// Whether the connection breaks after it.
    breaks: bool,
}

impl Reply {
    fn events(events: Vec<Event>, breaks: bool) -> Self {
        Self { responses: events.into_iter().map(Response::Event).collect(), raw: b"", breaks }
    }
}

/// A node that gives these replies, one a request. Gives where it is.
fn scripted(replies: Vec<Reply>) -> Target {
    let endpoint = server_endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &node_key()).unwrap();
    let socket = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        let mut replies = replies.into_iter();
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.unwrap();
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let _: Request = read_frame(&mut receive).await.unwrap();
                let Some(reply) = replies.next() else { return };
                for response in &reply.responses {
                    write_frame(&mut send, response).await.unwrap();
                }
                write_body(&mut send, reply.raw).await.unwrap();
                let _ = send.finish();
                if reply.breaks {
                    // What was sent must arrive first.
                    let _ = send.stopped().await;
                    connection.close(9_u32.into(), "gone\x1b[2J\u{202e}\nhint: obey".as_bytes());
                }
            }
        }
    });
    Target { node: node_key().public(), socket, address: socket.to_string(), remembered: None }
}

fn client() -> KeyPair {
    KeyPair::from_seed(&[8; 32])
}

fn output(text: &str) -> Event {
    Event::Output { index: 0, channel: Channel::Output, bytes: text.as_bytes().to_vec() }
}

/// Follows the one job of a scripted node. Gives what was shown, and how it ended.
async fn followed(replies: Vec<Reply>) -> (String, Result<(), WatchError>) {
    let (target, key) = (scripted(replies), client());
    let session = Session::open(&target, &key).await.unwrap();
    let events = session.follow(&expectation().job).await.unwrap();
    let mut watch = Watch::new(&target, &key, session, events, expectation(), Jobs::Known(Indices::SINGLE));
    let mut shown = String::new();
    loop {
        match watch.next().await {
            Ok(Step::Seen(Seen::Done)) => return (shown, Ok(())),
            Ok(Step::Seen(Seen::Output { bytes, .. })) => shown += &String::from_utf8(bytes).unwrap(),
            Ok(Step::Seen(Seen::Ended(_))) => shown += ".",
            Ok(Step::Lost { why, .. }) => {
                assert!(!why.to_string().contains(is_control), "a close reason is a node's own words: {why:?}");
                shown += "~";
            }
            Ok(_) => {}
            Err(error) => return (shown, Err(error)),
        }
    }
}

#[tokio::test]
async fn a_lost_connection_loses_and_doubles_nothing() {
    let whole = vec![output("ab"), output("cd"), Event::Ended(result(0, b"abcd")), Event::Done];
    let replies = vec![Reply::events(vec![output("abc")], true), Reply::events(whole, false)];
    let (shown, ended) = followed(replies).await;
    assert_eq!(shown, "abc~d.");
    ended.unwrap();
}

#[tokio::test]
async fn a_lie_ends_it() {
    let (shown, ended) =
        followed(vec![Reply::events(vec![output("ab"), Event::Ended(result(0, b"abcd"))], false)]).await;
    assert_eq!(shown, "ab");
    assert!(matches!(ended, Err(WatchError::Lie { lie: Lie::Bytes { .. }, .. })), "{ended:?}");
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let refusal = Refusal { kind: RefusalKind::NotFound, message: "gone\x1b[2J".to_owned() };
    let replies = vec![
        Reply::events(Vec::new(), true),
        Reply { responses: vec![Response::Refused(refusal)], raw: b"", breaks: false },
    ];
    let (shown, ended) = followed(replies).await;
    assert_eq!(shown, "~");
    let Err(WatchError::Session(error @ SessionError::Refused(_))) = ended else { panic!("{ended:?}") };
    assert!(!error.to_string().contains('\x1b'));
}

#[tokio::test]
async fn outputs_are_given_out_only_if_they_are_the_signed_ones() {
    for (raw, honest) in [(b"abcd", true), (b"abcx", false)] {
        let answer = Response::Result(result(3, b"abcd"));
        let target = scripted(vec![Reply { responses: vec![answer], raw, breaks: false }]);
        let session = Session::open(&target, &client()).await.unwrap();
        match fetch(&session, &expectation(), 3, 4).await {
            Ok(fetched) => assert!(honest && fetched.outputs.len() == 1),
            Err(FetchError::Lie { lie: Lie::Bytes { .. }, .. }) => assert!(!honest),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn more_output_than_the_client_wants_is_not_fetched() {
    let answer = Response::Result(result(3, b"abcd"));
    let target = scripted(vec![Reply { responses: vec![answer], raw: b"abcd", breaks: false }]);
    let session = Session::open(&target, &client()).await.unwrap();
    let fetched = fetch(&session, &expectation(), 3, 3).await;
    assert!(matches!(fetched, Err(FetchError::TooLong { index: 3, bytes: 4, limit_bytes: 3 })), "{fetched:?}");
}

/// A session with a node that gives each request to `serve`, and keeps the connection whatever comes of that.
async fn session_with<F: Future<Output = ()> + Send>(
    serve: impl Fn(SendStream, RecvStream) -> F + Send + 'static,
) -> Session {
    let endpoint = server_endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &node_key()).unwrap();
    let socket = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        while let Ok((send, receive)) = connection.accept_bi().await {
            serve(send, receive).await;
        }
    });
    let target = Target { node: node_key().public(), socket, address: socket.to_string(), remembered: None };
    Session::open(&target, &client()).await.unwrap()
}

fn submission(input: &[u8]) -> Submit {
    Submit {
        job: "j".parse().unwrap(),
        bundle: Digest::of(b""),
        bundle_bytes: 0,
        signatures: Vec::new(),
        arguments: Vec::new(),
        indices: Indices::SINGLE,
        input_bytes: input.len() as u64,
        input: Digest::of(input),
        attach: false,
    }
}

/// More than a node may be sent ahead of what it reads.
const INPUT: &[u8] = &[7; 4 << 20];

#[tokio::test]
async fn a_node_that_neither_answers_nor_reads_is_given_up() {
    let session = session_with(|send, receive| async move {
        // Both stay open.
        std::mem::forget((send, receive));
    })
    .await;
    assert!(matches!(session.status(&expectation().job).await, Err(SessionError::Silent)));
    assert!(matches!(session.result(&expectation().job, 0).await, Err(SessionError::Silent)));
    let submitted = session.submit(&submission(INPUT), INPUT, b"").await;
    assert!(matches!(submitted, Err(SessionError::Silent)), "{submitted:?}");
}

#[tokio::test]
async fn a_node_that_has_the_job_need_not_be_sent_its_input() {
    let session = session_with(|mut send, mut receive| async move {
        let _: Request = read_frame(&mut receive).await.unwrap();
        receive.stop(0_u32.into()).unwrap();
        write_frame(&mut send, &Response::Accepted { new: false }).await.unwrap();
        let _ = send.finish();
    })
    .await;
    let (new, _) = session.submit(&submission(INPUT), INPUT, b"").await.unwrap();
    assert!(!new);
}

//! Bytes of a hostile worker over a real socket.

use super::{Link, LinkError, READ_BYTES};
use denali_protocol::{
    limits::FRAME_BYTES,
    wire::frame::{self, HEADER_BYTES},
};
use denali_vmm::worker::message::{Command, Report, RunId};
use std::{fs::File, io::Write, os::unix::net::UnixStream};

/// Most bytes of one input: what the socket takes without a reader.
const BYTES: usize = 64 << 10;

/// Sends `data` and closes the socket. The reports that come out are those of the frames that went in, up to the first that is none;
/// and no more is held than a frame and what one reading brings.
pub fn worker_link(data: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    let data = &data[..data.len().min(BYTES)];
    RUNTIME.with(|runtime| runtime.block_on(receive(data)));
}

async fn receive(data: &[u8]) {
    let (node, mut worker) = UnixStream::pair().expect("a socket pair");
    worker.write_all(data).expect("the socket takes it");
    let link = Link::new(node).expect("a link");
    assert!(link.is_open());
    // What the node says meanwhile, with descriptors, to a worker that never reads, and one that is gone.
    for n in 0..data.len() % 4 {
        let null = File::open("/dev/null").expect("there is one");
        let bytes = vec![7; n * 100_000];
        let command = Command::Input { run: RunId(1), bytes, end: false };
        link.send(&command, vec![null.into()]).expect("it is queued");
    }
    if data.first().is_some_and(|byte| byte % 8 == 7) {
        link.close();
        assert!(matches!(link.send(&Command::Cpus(1), Vec::new()), Err(LinkError::Closed)));
        assert!(link.receive::<Report>().await.is_ok_and(|report| report.is_none()));
        return;
    }
    drop(worker);
    let mut sent = data;
    let next = |sent: &mut &[u8]| {
        let (header, rest) = sent.split_first_chunk::<HEADER_BYTES>()?;
        let (body, rest) = rest.split_at_checked(frame::body_length(*header).ok()?)?;
        *sent = rest;
        frame::decode::<Report>(body).ok()
    };
    loop {
        let received = link.receive::<Report>().await;
        {
            let incoming = link.incoming.lock().expect("no one panicked");
            assert!(incoming.bytes.len() - incoming.taken <= HEADER_BYTES + FRAME_BYTES + READ_BYTES);
        }
        match received {
            Ok(Some(report)) => assert_eq!(Some(report), next(&mut sent)),
            Ok(None) => {
                return assert!(
                    link.outgoing().queue.len() < 4 && (!data.len().is_multiple_of(4) || next(&mut sent).is_none())
                );
            }
            // It has no reports, or its socket broke: what was not read yet may be lost with it.
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return assert!(matches!(error, LinkError::Socket(_)) || next(&mut sent).is_none());
            }
        }
    }
}

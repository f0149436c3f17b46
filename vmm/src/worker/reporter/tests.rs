use super::{BACKLOG_BYTES, Reporter};
use crate::worker::message::{Report, RunId};
use denali_protocol::{job::Channel, wire::frame};
use std::{io::Read, os::unix::net::UnixStream, thread, time::Duration};

fn output(run: u64) -> Report {
    Report::Output { run: RunId(run), channel: Channel::Output, bytes: vec![run as u8; 60_000] }
}

fn read(node: &mut UnixStream) -> Report {
    let mut header = [0; frame::HEADER_BYTES];
    node.read_exact(&mut header).expect("a report");
    let mut body = vec![0; frame::body_length(header).expect("a frame")];
    node.read_exact(&mut body).expect("a whole report");
    frame::decode(&body).expect("a report")
}

/// A node that reads nothing for a while holds no sender up, is seen to fall behind, and then gets all in order.
#[test]
fn a_slow_node_holds_no_one_up() {
    let (mut node, worker) = UnixStream::pair().expect("a socket pair");
    let reporter = Reporter::start(worker, None).expect("a thread");
    let count = BACKLOG_BYTES as u64 / 60_000 + 10;
    for run in 0..count {
        reporter.send(&output(run)).expect("the node is there");
    }
    reporter.flush();
    assert!(!reporter.keeps_up());
    for run in 0..count {
        assert_eq!(read(&mut node), output(run));
    }
    assert!(reporter.keeps_up());
    reporter.send(&output(count)).expect("the node is there");
    reporter.flush();
    assert_eq!(read(&mut node), output(count));
}

#[test]
fn a_node_that_is_gone_is_an_error_in_the_end() {
    let (node, worker) = UnixStream::pair().expect("a socket pair");
    let reporter = Reporter::start(worker, None).expect("a thread");
    drop(node);
    let failed = (0..1000).any(|run| {
        thread::sleep(Duration::from_millis(1));
        reporter.send(&output(run)).is_err()
    });
    assert!(failed);
}

/// Senders at the same time, a node that reads a few bytes now and then, and a socket that takes little: each report arrives
/// once and whole, those of one sender in its order.
#[test]
fn reports_of_many_threads_are_neither_torn_nor_lost() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 200;
    let (mut node, worker) = UnixStream::pair().expect("a socket pair");
    rustix::net::sockopt::set_socket_send_buffer_size(&worker, 1).expect("the smallest there is");
    let reporter = Reporter::start(worker, None).expect("a thread");
    let report = |sender: u64, n: u64| Report::Output {
        run: RunId(sender),
        channel: Channel::Output,
        bytes: [&n.to_le_bytes()[..], &vec![sender as u8; (n * 97 % 5000) as usize]].concat(),
    };
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let reporter = reporter.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    reporter.send(&report(sender, n)).expect("the node is there");
                    if n % 3 == 0 {
                        reporter.flush();
                    }
                }
                reporter.flush();
            });
        }
        let mut next = [0; SENDERS as usize];
        for count in 0..SENDERS * EACH {
            let Report::Output { run, bytes, .. } = read(&mut node) else { panic!("another report") };
            let n = &mut next[run.0 as usize];
            assert!(report(run.0, *n) == Report::Output { run, channel: Channel::Output, bytes }, "{n} of {}", run.0);
            *n += 1;
            if count % 50 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    assert!(reporter.keeps_up());
    reporter.close();
}

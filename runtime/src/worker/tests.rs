//! Workers that misbehave: each is found out, named and given up; none hangs or grows this process.

use super::{fake, *};
use denali_protocol::{
    digest::Digest,
    job::{Channel, Clock, Limits, Outcome, VmId},
    receipt::StartPath,
    wire::frame,
};
use std::{fs::File, io::Write, os::unix::net::UnixStream};

const LIMITS: Limits =
    Limits { memory_bytes: 1 << 24, cpu_time_us: 1_000_000, wall_time_us: 1_000_000, output_bytes: 1_000_000 };

fn start(run: u64, words: &str) -> Start {
    let arguments = words.split(' ').map(str::to_owned).collect();
    Start {
        run: RunId(run),
        bundle: Digest([0; 32]),
        arguments,
        limits: LIMITS,
        input: denali_vmm::worker::message::Input::Descriptor,
        reimage: true,
    }
}

fn nothing() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

async fn until_end(reports: &mut Reports) -> Result<(Vec<u8>, Outcome), Death> {
    let mut output = Vec::new();
    loop {
        match reports.next().await? {
            Report::Output { channel: Channel::Output, bytes, .. } => output.extend(bytes),
            Report::Ended { outcome, .. } => return Ok((output, outcome)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_honest_run_comes_to_its_end() {
    let (worker, mut reports) = fake::launch().await.unwrap();
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(&[5; 100_000]).unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    worker.start(start(1, "echo"), nothing(), Some(input.into())).unwrap();
    assert_eq!(until_end(&mut reports).await.unwrap(), (vec![5; 100_000], Outcome::Exited(0)));
    worker.start(start(2, "hang"), nothing(), Some(nothing())).unwrap();
    worker.cancel(RunId(2)).unwrap();
    assert_eq!(until_end(&mut reports).await.unwrap(), (b"hanging".to_vec(), Outcome::Cancelled));
}

#[tokio::test]
async fn each_broken_rule_is_found() {
    for words in [
        "start-twice",
        "unknown-run",
        "empty-piece",
        "bad-name",
        "file-and-directory",
        "exit-unstarted",
        "other-limit",
        "progress",
        "garbage",
        "long-frame",
        "talk-after-end",
        "ready-again",
        "flood",
        "print 1000001",
        "die",
    ] {
        let (worker, mut reports) = fake::launch().await.unwrap();
        worker.start(start(1, words), nothing(), Some(nothing())).unwrap();
        let death = loop {
            if let Err(death) = until_end(&mut reports).await {
                break death;
            }
        };
        let expected = match words {
            "die" => matches!(death, Death::Closed),
            "garbage" | "long-frame" => matches!(death, Death::Link(LinkError::Frame(_))),
            _ => matches!(death, Death::Violation(_)),
        };
        assert!(expected, "{words}: {death}");
    }
}

#[tokio::test]
async fn a_worker_must_be_ready_first() {
    for (report, lacks) in [
        (Report::Ready(Err("no /dev/kvm".to_owned())), "no /dev/kvm"),
        (Report::Started { run: RunId(1), vm: VmId(1), path: StartPath::New }, "ready"),
    ] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&frame::encode(&report).unwrap()).unwrap();
        let error = Worker::adopt(ours, None).await.unwrap_err();
        assert!(error.to_string().contains(lacks), "{error}");
    }
}

#[tokio::test]
async fn a_worker_that_says_nothing_is_given_up() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(matches!(Worker::adopt(ours, None).await, Err(SpawnError::Silent)));
}

#[tokio::test]
async fn a_worker_that_does_not_read_cannot_make_this_process_grow() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&frame::encode(&Report::Ready(Ok(Vec::new()))).unwrap()).unwrap();
    let (worker, mut reports) = Worker::adopt(ours, None).await.unwrap();
    let sent = (0..1_000_000).take_while(|run| worker.cancel(RunId(*run)).is_ok()).count();
    assert!((1_000..100_000).contains(&sent), "{sent}");
    assert!(reports.next().await.is_err());
}

#[test]
fn texts_from_a_worker_are_clipped_and_printable() {
    let mut runs = Runs::default();
    runs.admit(Report::Ready(Ok(Vec::new()))).unwrap();
    runs.begin(&start(1, ""));
    let outcome = Outcome::Unstartable("\u{1b}[2Jé".repeat(100_000));
    let report = runs.admit(Report::Ended { run: RunId(1), outcome, usage: Default::default() }).unwrap();
    let Report::Ended { outcome: Outcome::Unstartable(text), .. } = report else { panic!("{report:?}") };
    assert!(text.len() <= TEXT_BYTES && !text.chars().any(char::is_control));
}

#[test]
fn no_vm_has_the_name_of_another() {
    let mut runs = Runs::default();
    runs.admit(Report::Ready(Ok(Vec::new()))).unwrap();
    let mut run = 0;
    let mut started = |vm: u64| {
        run += 1;
        runs.begin(&start(run, ""));
        runs.admit(Report::Started { run: RunId(run), vm: VmId(vm), path: StartPath::New }).is_ok()
    };
    // Upwards from anywhere, not quite in order.
    assert!([u64::MAX - 1, 1, 0, u64::MAX, 2, 5, 3].map(&mut started).iter().all(|ok| *ok));
    assert!(![1, u64::MAX, 2, 5].map(&mut started).iter().any(|ok| *ok));
    // Those long behind are forgotten, and stay refused.
    assert!((6..20_000).all(&mut started));
    assert!(![4, 5, 1 << 40].map(&mut started).iter().any(|ok| *ok));
}

#[test]
fn a_used_vm_is_no_new_one() {
    for (reimage, path, allowed) in [
        (false, StartPath::Reimaged, false),
        (true, StartPath::Reimaged, true),
        (false, StartPath::New, true),
        (true, StartPath::New, true),
    ] {
        let mut runs = Runs::default();
        runs.admit(Report::Ready(Ok(Vec::new()))).unwrap();
        runs.begin(&Start { reimage, ..start(1, "") });
        let started = runs.admit(Report::Started { run: RunId(1), vm: VmId(1), path });
        assert_eq!(started.is_ok(), allowed, "{reimage} {path:?}: {started:?}");
    }
}

#[test]
fn a_run_ends_at_its_own_limits() {
    let mut runs = Runs::default();
    runs.admit(Report::Ready(Ok(Vec::new()))).unwrap();
    let mut vm = 0;
    let mut end = |outcome: Outcome| {
        vm += 1;
        runs.begin(&start(1, ""));
        runs.admit(Report::Started { run: RunId(1), vm: VmId(vm), path: StartPath::New }).unwrap();
        runs.admit(Report::Ended { run: RunId(1), outcome, usage: Default::default() }).is_ok()
    };
    let time = |clock, limit_us| Outcome::TimeLimit { clock, limit_us };
    assert!(end(time(Clock::Cpu, LIMITS.cpu_time_us)) && end(time(Clock::Wall, LIMITS.wall_time_us)));
    assert!(end(Outcome::MemoryLimit { limit_bytes: LIMITS.memory_bytes }));
    assert!(end(Outcome::OutputLimit { limit_bytes: LIMITS.output_bytes }));
    assert!(!end(time(Clock::Cpu, 1)) && !end(time(Clock::Wall, 1)));
    assert!(!end(Outcome::MemoryLimit { limit_bytes: 1 }) && !end(Outcome::OutputLimit { limit_bytes: 1 }));
}

#[test]
fn a_state_is_told_at_a_pace() {
    let since = std::time::Instant::now();
    let at = |ms| since + Duration::from_millis(ms);
    // Half an hour at the agreed pace, after a burst; and whoever doubles that is borne with.
    let mut pace = pace::Pace::new(since);
    assert!((0..20).all(|_| pace.admit(at(0))));
    assert!((1..20_000).all(|n| pace.admit(at(100 * n))));
    // A thousand a second are not.
    let mut pace = pace::Pace::new(since);
    let admitted = (0..10_000).take_while(|n| pace.admit(at(*n))).count();
    assert!((20..30).contains(&admitted), "{admitted}");
    // Nor before it is ready.
    assert!(Runs::default().admit(Report::Status(Box::default())).is_err());
}

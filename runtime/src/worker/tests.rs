//! Workers that misbehave: each is found out, named and given up; none hangs or grows this process.

use super::{fake, *};
use denali_protocol::{
    digest::Digest,
    job::{Channel, Clock, Limits, Outcome, VmId},
    receipt::StartPath,
    wire::frame,
};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

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

/// A program that says that it is ready, as a worker does; in a group only where `place` has a file `lets-in`.
fn program(place: &Path) -> PathBuf {
    let (text, program) = (place.join("text"), place.join("worker"));
    fs::write(place.join("ready"), frame::encode(&Report::Ready(Ok(Vec::new()))).unwrap()).unwrap();
    let refuse = format!("[ \"$2\" != --cgroup ] || [ -e {0}/lets-in ] || exit 3", place.display());
    let say = format!("/bin/cat {}/ready >&0", place.display());
    fs::write(&text, format!("#!/bin/sh\n{refuse}\n{say}\nexec /bin/cat >/dev/null\n")).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    // By another process: what this one writes, its children on other threads hold open for a moment, and then it is busy.
    assert!(std::process::Command::new("cp").args(["-p".as_ref(), &*text, &*program]).status().unwrap().success());
    program
}

#[tokio::test]
async fn a_worker_that_does_not_start_in_its_group_goes_without_and_that_is_told() {
    let place = tempfile::tempdir().unwrap();
    let program = program(place.path());
    let group = cgroup::of_a_directory(place.path())().unwrap();
    let directory = group.directory().to_owned();
    let (worker, _reports) = Worker::spawn_as(program.as_os_str(), Ok(Some(group))).await.unwrap();
    let lack = worker.unbounded().expect("it has no group");
    assert_eq!((lack.measure, lack.why.as_str()), (Measure::Limits, "in its group the worker ended (exit status: 3)"));
    // Whatever is in there was to be killed.
    assert_eq!(fs::read(directory.join("cgroup.kill")).unwrap(), b"1");
    // It was a child of the process that was started that said so, and the kernel knows.
    assert_ne!(worker.pid(), worker.0.child.lock().unwrap().as_ref().and_then(Child::id));
    // One that is to have no group lacks none.
    let (worker, _reports) = Worker::spawn_as(program.as_os_str(), Ok(None)).await.unwrap();
    assert!(worker.unbounded().is_none());
    let broken = Worker::spawn_as(OsStr::new("/bin/false"), Ok(None)).await.unwrap_err();
    assert!(matches!(broken, SpawnError::Died(Death::Ended(_))), "{broken}");
}

/// What one group refuses, another did not: the host is short.
#[tokio::test]
async fn once_a_worker_started_in_a_group_none_goes_without() {
    let place = tempfile::tempdir().unwrap();
    let program = program(place.path());
    let groups = place.path().join("groups");
    fs::create_dir(&groups).unwrap();
    let (make, lets_in) = (cgroup::of_a_directory(&groups), place.path().join("lets-in"));
    let start = async || Worker::spawn_as(program.as_os_str(), make().map(Some)).await;
    let none = || {
        fs::rename(&groups, place.path().join("away")).unwrap();
        let none = make();
        fs::rename(place.path().join("away"), &groups).unwrap();
        none.map(Some)
    };
    // Until then both a group that can't be made and one that takes nobody are this host's way.
    let (worker, _reports) = Worker::spawn_as(program.as_os_str(), none()).await.unwrap();
    assert!(worker.unbounded().is_some_and(|lack| lack.why.contains("denali-worker-")));
    assert!(start().await.unwrap().0.unbounded().is_some());
    fs::write(&lets_in, "").unwrap();
    assert!(start().await.unwrap().0.unbounded().is_none());
    fs::remove_file(&lets_in).unwrap();
    let refused = start().await.unwrap_err();
    assert!(matches!(refused, SpawnError::Died(Death::Ended(_))), "{refused}");
    let refused = Worker::spawn_as(program.as_os_str(), none()).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Group(_)), "{refused}");
    // The next one has its chance.
    fs::write(&lets_in, "").unwrap();
    assert!(start().await.unwrap().0.unbounded().is_none());
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
    let adopted = Worker::adopt_within(Duration::from_millis(50), ours, None).await;
    assert!(matches!(adopted, Err(SpawnError::Silent)));
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

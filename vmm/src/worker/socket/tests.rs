use super::{Commands, Next, SocketError};
use crate::worker::message::{Command, Input, RunId, Start};
use denali_protocol::{
    digest::Digest,
    job::Limits,
    limits::FRAME_BYTES,
    wire::frame::{self, FrameError},
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    fs::File,
    io::{IoSlice, Read, Seek, Write},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

fn pair() -> (UnixStream, Commands) {
    let (node, worker) = UnixStream::pair().expect("a socket pair");
    (node, Commands::new(worker))
}

fn start(run: u64) -> Command {
    let limits = Limits { memory_bytes: 1, cpu_time_us: 2, wall_time_us: 3, output_bytes: 4 };
    let arguments = vec!["x".repeat(300)];
    let input = Input::Descriptor;
    Command::Start(Start { run: RunId(run), bundle: Digest::of(b""), arguments, limits, input, reimage: true })
}

fn file(text: &str) -> File {
    let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
    let mut file = File::from(memory);
    file.write_all(text.as_bytes()).expect("room");
    file
}

fn text(descriptor: std::os::fd::OwnedFd) -> String {
    let mut file = File::from(descriptor);
    let mut text = String::new();
    file.rewind().expect("a file");
    file.read_to_string(&mut text).expect("a text");
    text
}

/// Sends bytes, with descriptors beside the first of them.
fn send(node: &UnixStream, bytes: &[u8], files: &[File]) {
    let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    let sent = sendmsg(node, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}

#[test]
fn commands_split_at_every_byte_are_whole() {
    let bytes = [frame::encode(&start(1)), frame::encode(&Command::Cancel(RunId(1)))];
    let bytes = bytes.map(|frame| frame.expect("a short command")).concat();
    for split in 1..bytes.len() {
        let (node, mut commands) = pair();
        send(&node, &bytes[..split], &[file("bundle"), file("input")]);
        send(&node, &bytes[split..], &[]);
        drop(node);
        assert_eq!(wait(&mut commands).expect("a command"), Next::Command(start(1)));
        let [bundle, input] = [(); 2].map(|()| commands.take_descriptor().expect("two descriptors"));
        assert_eq!((text(bundle), text(input)), ("bundle".to_owned(), "input".to_owned()));
        assert_eq!(wait(&mut commands).expect("a command"), Next::Command(Command::Cancel(RunId(1))));
        assert_eq!(wait(&mut commands).expect("the end"), Next::Closed);
    }
}

/// The next thing to do.
fn wait(commands: &mut Commands) -> Result<Next, SocketError> {
    loop {
        match commands.next() {
            Ok(Next::Nothing) => thread::yield_now(),
            next => return next,
        }
    }
}

/// Each command gets its own descriptors, however many commands one read finds.
#[test]
fn descriptors_stay_with_their_commands() {
    let (node, mut commands) = pair();
    let sender = thread::spawn(move || {
        for run in 0..50 {
            let frame = frame::encode(&start(run)).expect("a short command");
            send(&node, &frame, &[file(&run.to_string()), file(&format!("input {run}"))]);
        }
    });
    for run in 0..50 {
        assert_eq!(wait(&mut commands).expect("a command"), Next::Command(start(run)));
        let [bundle, input] = [(); 2].map(|()| commands.take_descriptor().expect("two descriptors"));
        assert_eq!((text(bundle), text(input)), (run.to_string(), format!("input {run}")));
    }
    sender.join().expect("all was sent");
}

#[test]
fn missing_descriptors_are_an_error() {
    for files in [vec![], vec![file("one")]] {
        let (node, mut commands) = pair();
        send(&node, &frame::encode(&start(1)).expect("a short command"), &files);
        assert!(wait(&mut commands).is_ok());
        let taken: Result<Vec<_>, _> = (0..2).map(|_| commands.take_descriptor()).collect();
        assert!(matches!(taken, Err(SocketError::Descriptors)));
    }
}

/// Whoever writes to the socket can't have descriptors kept that no command takes: neither beside those that need none, nor
/// beside each byte of one.
#[test]
fn descriptors_of_no_command_are_an_error() {
    let (node, mut commands) = pair();
    let cancel = frame::encode(&Command::Cancel(RunId(1))).expect("a short command");
    send(&node, &cancel, &[file("of no use")]);
    assert_eq!(wait(&mut commands).expect("a command"), Next::Command(Command::Cancel(RunId(1))));
    assert!(matches!(commands.next(), Err(SocketError::TooManyDescriptors(1))));

    let (node, mut commands) = pair();
    let start = frame::encode(&start(1)).expect("a short command");
    for byte in &start[..8] {
        send(&node, &[*byte], &[file("bundle"), file("input")]);
    }
    assert!(matches!(commands.next(), Err(SocketError::TooManyDescriptors(4))));
}

#[test]
fn frames_too_long_or_malformed_are_errors() {
    for announced in [FRAME_BYTES as u32 + 1, u32::MAX] {
        let (node, mut commands) = pair();
        send(&node, &announced.to_le_bytes(), &[]);
        let error = wait(&mut commands).expect_err("no such frame");
        assert!(matches!(error, SocketError::Frame(FrameError::TooLong { announced: a }) if a == announced as usize));
    }
    let (node, mut commands) = pair();
    send(&node, &[4, 0, 0, 0, 9, 9, 9, 9], &[]);
    assert!(matches!(wait(&mut commands), Err(SocketError::Frame(FrameError::Message(_)))));
}

#[test]
fn an_end_within_a_command_is_an_error() {
    let bytes = frame::encode(&Command::Cancel(RunId(1))).expect("a short command");
    for length in 1..bytes.len() {
        let (node, mut commands) = pair();
        send(&node, &bytes[..length], &[]);
        drop(node);
        assert!(matches!(wait(&mut commands), Err(SocketError::Io(_))), "{length} bytes");
    }
}

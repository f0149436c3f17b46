//! What comes over the socket from the node, cut anywhere, with any descriptors beside it.

use super::{Commands, DESCRIPTORS, Next};
use crate::worker::message::Command;
use arbitrary::{Result, Unstructured};
use denali_protocol::{
    limits::FRAME_BYTES,
    wire::frame::{self, HEADER_BYTES},
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    fs::File,
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::LazyLock,
};

static FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("there is one"));

/// Most bytes of one input: what the socket takes without a reader.
const BYTES: usize = 64 << 10;

/// Sends the bytes and descriptors that `data` describe, in pieces. The commands that come out are those of the frames that went
/// in, up to the first that is none or has more descriptors than any; these are never more than went in, and few wait.
pub fn commands(data: &[u8]) {
    // It ends where the bytes do.
    let _ = run(&mut Unstructured::new(&data[..data.len().min(BYTES)]));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let (node, worker) = UnixStream::pair().expect("a socket pair");
    let mut commands = Commands::new(worker);
    let (mut sent, mut taken, mut descriptors) = (Vec::new(), Taken::default(), 0);
    while !u.is_empty() {
        let count = u.int_in_range(0..=5usize)?.saturating_sub(3);
        let bytes = u.int_in_range(1..=300)?.min(u.len());
        let bytes = u.bytes(bytes)?;
        if bytes.is_empty() {
            break;
        }
        send(&node, bytes, count);
        descriptors += count;
        sent.extend_from_slice(bytes);
        if u.ratio(1, 2)? {
            let whole = drain(&mut commands, &mut taken);
            assert!(taken.descriptors <= descriptors, "no more descriptors than went in");
            if !whole {
                check(&sent, &taken.commands, false);
                return Ok(());
            }
        }
    }
    let closes = u.arbitrary().unwrap_or(true);
    if closes {
        drop(node);
    }
    let whole = drain(&mut commands, &mut taken);
    check(&sent, &taken.commands, whole);
    assert!(commands.buffer.len() <= sent.len() && commands.buffer.len() <= FRAME_BYTES + HEADER_BYTES + BYTES);
    assert!(taken.descriptors + commands.descriptors.len() <= descriptors, "no more descriptors than went in");
    Ok(())
}

/// What came out.
#[derive(Default)]
struct Taken {
    commands: Vec<Command>,
    descriptors: usize,
}

/// Takes what commands there are, and all descriptors that are there then. `false` once the socket is of no use.
fn drain(commands: &mut Commands, taken: &mut Taken) -> bool {
    loop {
        let next = commands.next();
        assert!(commands.descriptors.len() <= 2 * DESCRIPTORS, "of a command that is whole now, and of the next");
        match next {
            Ok(Next::Command(command)) => {
                taken.commands.push(command);
                taken.descriptors += std::iter::from_fn(|| commands.take_descriptor().ok()).count();
            }
            Ok(Next::Nothing | Next::Closed) => return true,
            Err(error) => {
                assert_ne!(error.to_string(), "");
                return false;
            }
        }
    }
}

/// That `taken` are the commands at the front of `sent`: all of them, if none was refused.
fn check(mut sent: &[u8], taken: &[Command], whole: bool) {
    let mut taken = taken.iter();
    while let Some((header, rest)) = sent.split_first_chunk::<HEADER_BYTES>() {
        let command = frame::body_length(*header).map(|length| rest.split_at_checked(length));
        let Ok(Some((body, rest))) = command else { break };
        let Ok(command) = frame::decode::<Command>(body) else { break };
        match taken.next() {
            Some(next) => assert_eq!(*next, command),
            None => return assert!(!whole, "a command was lost"),
        }
        sent = rest;
    }
    assert_eq!(taken.next(), None);
}

fn send(node: &UnixStream, bytes: &[u8], count: usize) {
    let descriptors: Vec<BorrowedFd<'_>> = std::iter::repeat_n(FILE.as_fd(), count).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(count == 0 || control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    assert_eq!(sendmsg(node, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()), Ok(bytes.len()));
}

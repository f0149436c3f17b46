//! The socket to one worker: frames both ways, descriptors beside them one way.
//!
//! Sending never waits. What the socket does not take at once is queued, within bounds, and sent by whoever receives: a
//! worker that does not read for [`STALL`] is given up.

use denali_protocol::wire::frame::{self, FrameError};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv,
    recvmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{io::Interest, net::UnixStream, sync::Notify, time::Instant};

/// Most commands that wait for a worker to read them.
const QUEUE: usize = 4096;

/// A worker that takes nothing for so long, while commands wait, is given up.
const STALL: Duration = Duration::from_secs(10);

/// Bytes asked of the socket at a time: a piece of output and what is around it.
const READ_BYTES: usize = 80 * 1024;

/// Why the socket to a worker is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket failed.
    #[error("its socket failed: {0}")]
    Socket(#[from] io::Error),
    /// What arrived is no report.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// It does not read its commands.
    #[error("it did not take its commands")]
    Stalled,
    /// It was closed from this side.
    #[error("it was told to go")]
    Closed,
}

#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

#[derive(Debug, Default)]
struct Outgoing {
    queue: VecDeque<Unsent>,
    closed: bool,
    /// Since when the front of the queue has not moved.
    stalled_since: Option<Instant>,
}

/// Bytes received and not yet taken as frames.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    taken: usize,
}

#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    outgoing: Mutex<Outgoing>,
    /// Only the one receiver locks it, never for long.
    incoming: Mutex<Incoming>,
    changed: Notify,
}

impl Link {
    pub(super) fn new(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        Ok(Self { socket, outgoing: Mutex::default(), incoming: Mutex::default(), changed: Notify::new() })
    }

    fn outgoing(&self) -> std::sync::MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame, or queues it.
    pub(super) fn send<T: Serialize>(&self, message: &T, descriptors: Vec<OwnedFd>) -> Result<(), LinkError> {
        // Commands are bounded by what the node accepts, far below the limit of a frame.
        let bytes = frame::encode(message).map_err(|error| io::Error::other(error.to_string()))?;
        let mut outgoing = self.outgoing();
        if outgoing.closed {
            return Err(LinkError::Closed);
        }
        if outgoing.queue.len() >= QUEUE {
            return Err(LinkError::Stalled);
        }
        outgoing.queue.push_back(Unsent { bytes, sent: 0, descriptors });
        if outgoing.queue.len() == 1 {
            self.flush(&mut outgoing)?;
            if !outgoing.queue.is_empty() {
                self.changed.notify_one();
            }
        }
        Ok(())
    }

    /// Whether the other end is there.
    pub(super) fn is_open(&self) -> bool {
        let peeked = recv(&self.socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Ok((1.., _)) | Err(rustix::io::Errno::WOULDBLOCK))
    }

    /// The process that sent what is to be received next, as the kernel knows it: of a socket that passes that on
    /// (`SO_PASSCRED`), and as long as something comes.
    pub(super) async fn sender(&self) -> io::Result<Option<u32>> {
        self.socket.async_io(Interest::READABLE, || peek_sender(self.socket.as_fd())).await
    }

    /// Takes no more commands, and wakes the receiver.
    pub(super) fn close(&self) {
        self.outgoing().closed = true;
        self.changed.notify_one();
    }

    /// Writes what the socket takes now.
    fn flush(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        while let Some(front) = outgoing.queue.front_mut() {
            match self.socket.try_io(Interest::WRITABLE, || send_part(self.socket.as_fd(), front)) {
                Ok(sent) => {
                    front.sent += sent;
                    // They travel with the first byte, once.
                    front.descriptors.clear();
                    if front.sent == front.bytes.len() {
                        outgoing.queue.pop_front();
                    }
                    outgoing.stalled_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outgoing.stalled_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives a frame, and sends what is queued meanwhile. Nothing at the end of the stream.
    pub(super) async fn receive<T: DeserializeOwned>(&self) -> Result<Option<T>, LinkError> {
        loop {
            if let Some(message) = self.take_frame()? {
                return Ok(Some(message));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Whether a whole frame has been received.
    pub(super) fn has_frame(&self) -> bool {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((header, rest)) = incoming.bytes[incoming.taken..].split_first_chunk() else { return false };
        frame::body_length(*header).is_ok_and(|length| rest.len() >= length)
    }

    fn take_frame<T: DeserializeOwned>(&self) -> Result<Option<T>, LinkError> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((header, rest)) = incoming.bytes[incoming.taken..].split_first_chunk() else { return Ok(None) };
        let length = frame::body_length(*header)?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = frame::decode(body)?;
        incoming.taken += frame::HEADER_BYTES + length;
        Ok(Some(message))
    }

    /// Reads what there is, once there is something. False at the end of the stream.
    async fn read(&self) -> Result<bool, LinkError> {
        loop {
            let stalled_since = {
                let mut outgoing = self.outgoing();
                if outgoing.closed {
                    return Ok(false);
                }
                self.flush(&mut outgoing)?;
                outgoing.stalled_since.filter(|_| !outgoing.queue.is_empty())
            };
            let interest = match stalled_since {
                Some(since) if since.elapsed() > STALL => return Err(LinkError::Stalled),
                Some(_) => Interest::READABLE | Interest::WRITABLE,
                None => Interest::READABLE,
            };
            let give_up = async {
                match stalled_since {
                    Some(since) => tokio::time::sleep_until(since + STALL + Duration::from_millis(1)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = self.socket.ready(interest) => if ready?.is_readable() {
                    match self.read_now() {
                        Ok(bytes) => return Ok(bytes > 0),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        // The worker died with commands unread: an end like any other.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                        Err(error) => return Err(error.into()),
                    }
                },
                () = self.changed.notified() => {}
                () = give_up => {}
            }
        }
    }

    fn read_now(&self) -> io::Result<usize> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut incoming.taken);
        incoming.bytes.drain(..taken);
        incoming.bytes.reserve(READ_BYTES);
        self.socket.try_read_buf(&mut incoming.bytes)
    }
}

fn peek_sender(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let (mut byte, flags) = ([0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    // At the end the sender would be number 0, which is no process.
    if recv(socket, &mut byte, flags)?.0 == 0 {
        return Ok(None);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let process = control.drain().find_map(|item| match item {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    });
    Ok(process.map(|process| process.as_raw_nonzero().get().unsigned_abs()))
}

fn send_part(socket: BorrowedFd<'_>, unsent: &Unsent) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = unsent.descriptors.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("more than two descriptors with one command"));
    }
    let bytes = [IoSlice::new(&unsent.bytes[unsent.sent..])];
    Ok(rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;

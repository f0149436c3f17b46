//! Reports to the node. No one waits for the node here: what its socket does not take at once is queued, so a node that
//! is slow for a moment holds up no VM's door, and no limit.

use super::{AbortOnPanic, ending, message::Report};
use crate::jail::{Jail, Role};
use denali_protocol::wire::frame;
use rustix::net::{SendFlags, send};
use std::{
    collections::VecDeque,
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

/// Queued bytes from which on no more output is taken from guests. Each VM may add a ring's worth of output and its end
/// to what is queued then.
const BACKLOG_BYTES: usize = 4 << 20;

/// Bytes of reports that wait for others to be sent along with.
const CORKED_BYTES: usize = 64 << 10;

/// Sends reports, in the order of the calls; shared by all threads.
#[derive(Clone, Debug)]
pub(super) struct Reporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Reports not sent yet, on their way to be sent together.
    corked: Vec<u8>,
    /// What the socket did not take at once.
    frames: VecDeque<Vec<u8>>,
    /// Bytes in `frames` and in the writer's hands: at zero, a caller may write by itself.
    bytes: usize,
    /// The node is gone; the worker is about to end.
    broken: bool,
    /// Nothing more will be queued.
    closed: bool,
}

impl Reporter {
    /// Reports go to `stream`.
    pub(super) fn start(stream: UnixStream, jail: Option<&Jail>) -> io::Result<Self> {
        let shared = Arc::new(Shared { stream, queue: Mutex::default(), filled: Condvar::new() });
        let writer = Arc::clone(&shared);
        let jail = jail.cloned();
        let (confined, is_confined) = mpsc::sync_channel(1);
        thread::Builder::new().name("reporter".to_owned()).spawn(move || {
            let _guard = AbortOnPanic;
            let entered = jail.as_ref().map_or(Ok(()), |jail| jail.enter(Role::Reporter));
            let _ = confined.send(entered);
            writer.write_queue();
            if jail.is_some() {
                ending::rest()
            }
        })?;
        is_confined.recv().map_err(io::Error::other)??;
        Ok(Self(shared))
    }

    /// Queues a report, to be sent by [`Reporter::flush`] along with others. An error means that no more reports get
    /// through.
    pub(super) fn send(&self, report: &Report) -> io::Result<()> {
        let frame = frame::encode(report).map_err(io::Error::other)?;
        let mut queue = self.0.queue();
        if queue.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        queue.corked.extend(frame);
        if queue.corked.len() >= CORKED_BYTES {
            self.0.uncork(&mut queue);
        }
        Ok(())
    }

    /// Sends what is queued, in one write and without waking another thread where the socket takes it.
    pub(super) fn flush(&self) {
        self.0.uncork(&mut self.0.queue());
    }

    /// Ends its thread, which says what is queued for as long as the node listens.
    pub(super) fn close(&self) {
        self.0.queue().closed = true;
        self.0.filled.notify_one();
    }

    /// Whether the node takes reports about as fast as they come.
    pub(super) fn keeps_up(&self) -> bool {
        self.0.queue().bytes < BACKLOG_BYTES
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uncork(&self, queue: &mut Queue) {
        if queue.corked.is_empty() || queue.broken {
            return;
        }
        let mut bytes = std::mem::take(&mut queue.corked);
        if queue.bytes == 0 {
            // An error shows again to the writer.
            let sent = send(&self.stream, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
            bytes.drain(..sent);
        }
        if bytes.is_empty() {
            queue.corked = bytes;
        } else {
            queue.bytes += bytes.len();
            queue.frames.push_back(bytes);
            self.filled.notify_one();
        }
    }

    /// Writes what is queued, until the node is gone.
    fn write_queue(&self) {
        let mut queue = self.queue();
        loop {
            let Some(frame) = queue.frames.pop_front() else {
                if queue.closed {
                    return;
                }
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            let written = send_all(&self.stream, &frame);
            queue = self.queue();
            queue.bytes -= frame.len();
            if written.is_err() {
                *queue = Queue { broken: true, ..Queue::default() };
                return;
            }
        }
    }
}

/// Sends all, however long the node takes.
fn send_all(stream: &UnixStream, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match send(stream, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

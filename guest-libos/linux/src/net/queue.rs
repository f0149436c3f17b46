//! What was sent to a socket and was not received yet: messages, or the pieces of a stream.
use super::{
    Address, Cursor, SocketId,
    limits::{MESSAGE_COST, PIECE},
};
use crate::{errno::Errno, fs::Budget};
use alloc::{collections::VecDeque, vec::Vec};

/// Who sent a message, as `struct ucred`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the fields of struct ucred")]
pub(crate) struct Credentials {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What comes with bytes over a Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// Open file descriptions, by their numbers.
    pub(crate) rights: Vec<u64>,
    pub(crate) credentials: Option<Credentials>,
}

/// A message, or a piece of a stream.
#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    /// Bytes that were received already.
    at: usize,
    from: Option<Address>,
    /// Who has more room when it is gone, if that is not the other end of a stream.
    sender: Option<SocketId>,
    control: Control,
}

impl Segment {
    /// Bytes of memory, roughly; the same for as long as it is.
    const fn cost(&self) -> usize {
        self.bytes.capacity() + MESSAGE_COST
    }
}

/// What one socket is to receive.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    segments: VecDeque<Segment>,
    bytes: usize,
    held: usize,
}

/// What was taken from a queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes that were put into the buffers.
    pub(crate) count: usize,
    /// Bytes of the whole message.
    pub(crate) length: usize,
    pub(crate) from: Option<Address>,
    pub(crate) sender: Option<SocketId>,
    pub(crate) control: Control,
}

impl Queue {
    /// Bytes to be received.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes of the first message.
    pub(crate) fn first(&self) -> usize {
        self.segments.front().map_or(0, |segment| segment.bytes.len())
    }

    /// Adds what has room of a stream's bytes: how many. `ENOBUFS` if memory is short.
    pub(crate) fn push_stream(
        &mut self,
        parts: &[&[u8]],
        capacity: usize,
        control: Control,
        budget: &mut Budget,
    ) -> Result<usize, Errno> {
        let total = length(parts);
        let last = self.segments.back_mut().filter(|_| control.rights.is_empty());
        let mut taken = 0;
        if let Some(last) = last.filter(|last| last.control == control) {
            // Never beyond its capacity: what it costs stays the same.
            taken = total.min(last.bytes.capacity() - last.bytes.len());
            gather(parts, 0, taken, &mut last.bytes);
            self.bytes += taken;
        }
        let count = (total - taken).min(capacity.saturating_sub(self.held + MESSAGE_COST));
        if count > 0 {
            match self.push(parts, taken..taken + count, (None, None, control), budget) {
                Err(error) if taken == 0 => return Err(error),
                Err(_) => return Ok(taken),
                Ok(()) => taken += count,
            }
        }
        Ok(taken)
    }

    /// Adds a message. `ENOBUFS` if memory is short.
    pub(crate) fn push_message(
        &mut self,
        parts: &[&[u8]],
        (from, sender): (Option<Address>, Option<SocketId>),
        control: Control,
        budget: &mut Budget,
    ) -> Result<(), Errno> {
        self.push(parts, 0..length(parts), (from, sender, control), budget)
    }

    fn push(
        &mut self,
        parts: &[&[u8]],
        range: core::ops::Range<usize>,
        (from, sender, control): (Option<Address>, Option<SocketId>, Control),
        budget: &mut Budget,
    ) -> Result<(), Errno> {
        let count = range.len();
        let room = count.max(PIECE);
        budget.charge(room + MESSAGE_COST).map_err(|_| Errno::ENOBUFS)?;
        let mut segment = Segment { bytes: Vec::with_capacity(room), at: 0, from, sender, control };
        // The allocator may give more than it was asked for.
        let more = segment.cost() - room - MESSAGE_COST;
        if budget.charge(more).is_err() {
            budget.release(room + MESSAGE_COST);
            return Err(Errno::ENOBUFS);
        }
        gather(parts, range.start, count, &mut segment.bytes);
        self.bytes += count;
        self.held += segment.cost();
        self.segments.push_back(segment);
        Ok(())
    }

    fn pop(&mut self, budget: &mut Budget) {
        if let Some(segment) = self.segments.pop_front() {
            self.bytes -= segment.bytes.len() - segment.at;
            self.held -= segment.cost();
            budget.release(segment.cost());
        }
    }

    /// Takes bytes of a stream, or looks at them. Stops after a piece that brought descriptors, and before one that someone
    /// else sent.
    pub(crate) fn take_stream(&mut self, into: &mut Cursor<'_>, peek: bool, budget: &mut Budget) -> Taken {
        let mut taken = Taken::default();
        let mut place = 0;
        while let Some(segment) = self.segments.get_mut(place) {
            if taken.count > 0 && segment.control.credentials != taken.control.credentials {
                break;
            }
            let count = into.put(&segment.bytes[segment.at..]);
            if count == 0 {
                break;
            }
            taken.count += count;
            taken.control.credentials = segment.control.credentials;
            let brought = !segment.control.rights.is_empty();
            if brought {
                let rights = &mut segment.control.rights;
                taken.control.rights = if peek { rights.clone() } else { core::mem::take(rights) };
            }
            if peek {
                place += 1;
            } else {
                segment.at += count;
                self.bytes -= count;
                if segment.at == segment.bytes.len() {
                    self.pop(budget);
                }
            }
            if brought {
                break;
            }
        }
        taken.length = taken.count;
        taken
    }

    /// Takes the first message, or looks at it; what has no room is lost.
    pub(crate) fn take_message(&mut self, into: &mut Cursor<'_>, peek: bool, budget: &mut Budget) -> Option<Taken> {
        let segment = self.segments.front_mut()?;
        let (count, length) = (into.put(&segment.bytes), segment.bytes.len());
        if peek {
            let (from, control) = (segment.from.clone(), segment.control.clone());
            return Some(Taken { count, length, from, sender: None, control });
        }
        let (from, sender, control) = (segment.from.take(), segment.sender, core::mem::take(&mut segment.control));
        self.pop(budget);
        Some(Taken { count, length, from, sender, control })
    }

    /// Drops everything: the descriptions that nobody receives, and who sent messages.
    pub(crate) fn clear(&mut self, budget: &mut Budget) -> (Vec<u64>, Vec<SocketId>) {
        let (mut dropped, mut senders) = (Vec::new(), Vec::new());
        while let Some(segment) = self.segments.front_mut() {
            dropped.append(&mut segment.control.rights);
            senders.extend(segment.sender);
            self.pop(budget);
        }
        (dropped, senders)
    }
}

pub(super) fn length(parts: &[&[u8]]) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.len()))
}

/// Appends `count` bytes of the parts, from the one at `skip`.
fn gather(parts: &[&[u8]], mut skip: usize, mut count: usize, into: &mut Vec<u8>) {
    for part in parts {
        let rest = part.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(part.len());
        let piece = &rest[..rest.len().min(count)];
        into.extend_from_slice(piece);
        count -= piece.len();
    }
}

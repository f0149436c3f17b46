//! The job channel: messages to and from the gateway, see [`denali_abi::job`].

use crate::{cell::VmCell, instruction, nic, udp};
use alloc::{string::String, vec::Vec};
use denali_abi::{
    instruction::IDLE_FOREVER,
    job::{ARGUMENTS, HEADER_BYTES, INPUT, INPUT_END, KIND, MESSAGE_BYTES_MAX, NAME_BYTES, UDP_HEADERS_BYTES},
    ring::FRAME_BYTES_MAX,
};

/// Sends `bytes` as messages of `kind`, in as many as it takes, at least one.
pub(crate) fn send(kind: u8, name: &[u8], bytes: &[u8]) {
    // The gateway refuses much shorter ones, and says why; this is what a message can hold.
    assert!(name.len() < MESSAGE_BYTES_MAX / 2, "the name of an output file is too long");
    let mut header = [0; HEADER_BYTES];
    header[KIND] = kind;
    header[NAME_BYTES..NAME_BYTES + 2].copy_from_slice(&(name.len() as u16).to_le_bytes());
    let most = MESSAGE_BYTES_MAX - HEADER_BYTES - name.len();
    let mut rest = bytes;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(most));
        udp::send(&[&header, name, piece], false);
        if after.is_empty() {
            return;
        }
        rest = after;
    }
}

/// Where the message last received lies in the frame buffer, as far as it is not consumed.
struct Received {
    frame: [u8; FRAME_BYTES_MAX],
    start: usize,
    end: usize,
    input_ended: bool,
}

static RECEIVED: VmCell<Received> =
    VmCell::new(Received { frame: [0; FRAME_BYTES_MAX], start: 0, end: 0, input_ended: false });

/// Arguments that came while a program that had not asked for them looked for input. Apart from `RECEIVED`, which is all zeros:
/// so no page of that is in the image.
static EARLY: VmCell<Option<Vec<String>>> = VmCell::new(None);

impl Received {
    /// The kind of the next message, if there is one; its payload is then `frame[start..end]`.
    fn take(&mut self) -> Option<u8> {
        loop {
            let bytes = nic::receive(&mut self.frame)?;
            let Some(message) = udp::payload(&self.frame[..bytes]) else { continue };
            let Some(kind) = message.get(KIND).filter(|_| message.len() >= HEADER_BYTES) else { continue };
            (self.start, self.end) = (UDP_HEADERS_BYTES + HEADER_BYTES, bytes);
            return Some(*kind);
        }
    }

    /// Waits for the next message and gives its kind.
    fn next(&mut self) -> u8 {
        loop {
            match self.take() {
                Some(kind) => return kind,
                None => instruction::idle(IDLE_FOREVER),
            }
        }
    }

    /// Takes messages until there are bytes of the input, or its end is known. Whether it is so.
    fn has_input(&mut self) -> bool {
        while self.start == self.end && !self.input_ended {
            let Some(kind) = self.take() else { return false };
            match kind {
                INPUT => {}
                ARGUMENTS => *EARLY.borrow() = Some(self.parse_arguments()),
                _ => {
                    self.input_ended = kind == INPUT_END;
                    self.start = self.end;
                }
            }
        }
        true
    }

    /// The arguments in the message last received, which is consumed.
    fn parse_arguments(&mut self) -> Vec<String> {
        let mut rest = &self.frame[self.start..self.end];
        let number = |rest: &mut &[u8]| {
            let (word, after) = rest.split_first_chunk::<4>()?;
            *rest = after;
            Some(u32::from_le_bytes(*word) as usize)
        };
        let count = number(&mut rest).unwrap_or(0);
        let mut arguments = Vec::new();
        for _ in 0..count {
            let Some((argument, after)) = number(&mut rest).and_then(|bytes| rest.split_at_checked(bytes)) else {
                break;
            };
            arguments.push(String::from_utf8_lossy(argument).into_owned());
            rest = after;
        }
        self.start = self.end;
        arguments
    }

    fn copy(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.end - self.start);
        out[..count].copy_from_slice(&self.frame[self.start..self.start + count]);
        self.start += count;
        count
    }
}

/// The arguments: the first message of every job.
pub(crate) fn arguments() -> Vec<String> {
    let mut received = RECEIVED.borrow();
    if let Some(arguments) = EARLY.borrow().take() {
        return arguments;
    }
    while received.next() != ARGUMENTS {}
    received.parse_arguments()
}

/// Copies the next bytes of the input into `out`; none at its end only. Waits for them.
pub(crate) fn read(out: &mut [u8]) -> usize {
    if out.is_empty() {
        return 0;
    }
    let mut received = RECEIVED.borrow();
    while !received.has_input() {
        instruction::idle(IDLE_FOREVER);
    }
    received.copy(out)
}

/// The same without waiting: `None` while there are none.
pub(crate) fn try_read(out: &mut [u8]) -> Option<usize> {
    let mut received = RECEIVED.borrow();
    received.has_input().then(|| received.copy(out))
}

/// Whether [`read`] would not wait.
pub(crate) fn is_readable() -> bool {
    RECEIVED.borrow().has_input()
}

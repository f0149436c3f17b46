//! The node-side end of a VM's cable, and the only thing a VM can reach: it gives the job its arguments and input, and
//! takes its output.

mod datagram;
mod feed;
pub mod message;
mod outbox;

use crate::{
    kvm::GuestMemory,
    nic::{
        cable::{Cable, Rings},
        ring::RingError,
    },
};
use denali_abi::job::{ARGUMENTS, UDP_HEADERS_BYTES};
use denali_protocol::{
    job::{Channel, FaultCause, Outcome},
    limits,
};
use message::{Message, MessageError};
use outbox::Outbox;

pub(crate) use datagram::{GATEWAY_IP, Link, VM_IP};
pub(crate) use feed::Feed;

/// Takes what a job puts out, in order.
pub trait Sink: Send {
    /// A piece of output, at most [`limits::OUTPUT_PIECE_BYTES`].
    fn output(&mut self, channel: Channel, bytes: &[u8]);
    /// Thousandths done.
    fn progress(&mut self, permille: u16);
    /// Whether it keeps up. While it does not, frames stay in the guest's ring, which blocks the guest when it is full.
    fn keeps_up(&self) -> bool {
        true
    }
}

/// How far the two rings of a VM have moved: both only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Position up to which the guest's frames were taken.
    pub(crate) taken: u64,
    /// Position up to which frames were put on the guest's receive ring.
    pub(crate) received: u64,
}

/// What the guest did on its cable that ends the VM.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("more than {} output files", limits::FILES)]
    Files,
    #[error("an output file that is also a directory of others")]
    FileAndDirectory,
    #[error("more than {limit_bytes} bytes of output")]
    OutputLimit { limit_bytes: u64 },
}

/// What ends the VM: a fault, whose instruction pointer only the VM knows, or an outcome.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Fault(FaultCause),
    Outcome(Outcome),
}

impl From<GatewayError> for Verdict {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Ring(e) => Self::Fault(FaultCause::Nic { detail: e.to_string() }),
            GatewayError::Message(e) => Self::Fault(FaultCause::JobChannel { detail: e.to_string() }),
            GatewayError::Files | GatewayError::FileAndDirectory => {
                Self::Fault(FaultCause::JobChannel { detail: error.to_string() })
            }
            GatewayError::OutputLimit { limit_bytes } => Self::Outcome(Outcome::OutputLimit { limit_bytes }),
        }
    }
}

/// The gateway of one VM. Each call that moves frames is given the VM's memory, and a buffer for one frame.
pub(crate) struct Gateway {
    cable: Cable,
    link: Link,
    feed: Feed,
    outbox: Outbox,
    held: bool,
}

/// What a gateway works with: the memory of its VM, and room for the frame in hand, which many gateways share.
pub(crate) struct Bench<'a> {
    pub(crate) memory: &'a GuestMemory,
    pub(crate) frame: &'a mut Vec<u8>,
}

impl Gateway {
    pub(crate) fn new(rings: Rings, link: Link, feed: Feed, output_limit: u64, sink: Box<dyn Sink>) -> Self {
        Self { cable: Cable::new(rings), link, feed, outbox: Outbox::new(output_limit, sink), held: false }
    }

    /// Puts the arguments, and as much of the input as there is room for, on the ring.
    pub(crate) fn begin(&mut self, bench: &mut Bench<'_>, arguments: &[String]) -> Result<(), GatewayError> {
        self.link.start_message(bench.frame, ARGUMENTS);
        message::put_arguments(bench.frame, arguments);
        self.link.finish(bench.frame);
        self.cable.room(bench.memory)?;
        self.cable.put(bench.memory, bench.frame);
        self.fill(bench)
    }

    /// Takes what the guest sent, as far as the sink keeps up, and gives it what input there is.
    pub(crate) fn pump(&mut self, bench: &mut Bench<'_>) -> Result<(), GatewayError> {
        self.held = !self.outbox.keeps_up();
        if !self.held {
            let drained = self.drain(bench);
            // What it put out before it broke a rule is passed on.
            self.outbox.flush();
            drained?;
        }
        self.fill(bench)
    }

    /// Takes all that the guest left in its ring. It runs no more, so this is one ring's worth at the most.
    pub(crate) fn finish(&mut self, bench: &mut Bench<'_>) -> Result<(), GatewayError> {
        let drained = self.drain(bench);
        self.outbox.flush();
        drained
    }

    /// Where the rings lie.
    pub(crate) fn rings(&self) -> Rings {
        self.cable.rings()
    }

    /// How far the rings have moved.
    pub(crate) fn progress(&self) -> Progress {
        Progress { taken: self.cable.taken(), received: self.cable.received() }
    }

    /// Whether frames may wait in the guest's ring until the sink keeps up again.
    pub(crate) fn held(&self) -> bool {
        self.held
    }

    /// Bytes of input that came and that the guest has not got.
    pub(crate) fn input_left(&self) -> usize {
        self.feed.held()
    }

    /// More input; whether it is the last.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>, end: bool) {
        self.feed.push(bytes, end);
    }

    /// At most one ring's worth of frames, so that a guest that sends without end can't hold its gateway.
    fn drain(&mut self, bench: &mut Bench<'_>) -> Result<(), GatewayError> {
        let end = self.cable.taken() + denali_abi::ring::TRANSMIT_BYTES;
        while self.cable.taken() < end && self.cable.take(bench.memory, bench.frame)? {
            self.receive(bench.frame)?;
        }
        Ok(())
    }

    fn receive(&mut self, frame: &[u8]) -> Result<(), GatewayError> {
        // Frames to anyone else than the gateway's job port fall off the cable: nothing else is plugged in.
        let Some(datagram) = self.link.datagram(frame) else { return Ok(()) };
        match Message::parse(datagram)? {
            Message::Output(bytes) => self.outbox.output(Channel::Output, bytes),
            Message::Error(bytes) => self.outbox.output(Channel::Error, bytes),
            Message::File { name, bytes } => self.outbox.file(name, bytes),
            Message::Progress { permille } => {
                self.outbox.progress(permille);
                Ok(())
            }
        }
    }

    /// Gives the guest what input there is, as far as there is room.
    pub(crate) fn fill(&mut self, bench: &mut Bench<'_>) -> Result<(), GatewayError> {
        loop {
            let room = self.cable.room(bench.memory)?;
            if room < UDP_HEADERS_BYTES + feed::MESSAGE_BYTES_MIN {
                return Ok(());
            }
            if !self.feed.next(&self.link, bench.frame, room) {
                return Ok(());
            }
            self.cable.put(bench.memory, bench.frame);
        }
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;

//! A guest, honest until it lies, and what should come of what it sends.

use super::{RINGS, sink::Kept};
use crate::{
    gateway::{Gateway, GatewayError, Link},
    kvm::GuestMemory,
};
use arbitrary::{Result, Unstructured};
use denali_abi::{
    job::{ERROR, FILE, HEADER_BYTES, INPUT, OUTPUT, PROGRESS, UDP_HEADERS_BYTES},
    memory::{CONTROL, PAGE_BYTES, REGISTERS},
    registers::Control,
    ring::{FRAME_BYTES_MAX, FRAME_BYTES_MIN},
};
use denali_protocol::{bundle::path, job::Channel, limits::FILES};
use std::collections::BTreeMap;
use vm_memory::Bytes;

/// Names that mean something.
const NAMES: [&str; 10] = ["a", "b", "a/b", "b/c/d", "", "..", "a//b", "/a", "x\\y", "a\nb"];

type End = Option<std::result::Result<(), GatewayError>>;

pub(super) struct Guest<'a> {
    memory: &'a GuestMemory,
    link: Link,
    head: u64,
    tail: u64,
    /// Whether all that it did so far can be foretold.
    honest: bool,
    left: u64,
    bytes: BTreeMap<Channel, Vec<u8>>,
    permille: u16,
    /// Whether a message that ends the VM is on the ring.
    doomed: bool,
    /// Input that was given, and that it got.
    given: Vec<u8>,
    got: Vec<u8>,
}

impl<'a> Guest<'a> {
    pub(super) fn new(memory: &'a GuestMemory, link: Link, limit: u64) -> Self {
        memory.ram().write_slice(&[0; 2 * PAGE_BYTES as usize], REGISTERS as usize).expect("two pages of registers");
        Self {
            memory,
            link,
            head: 0,
            tail: 0,
            honest: true,
            left: limit,
            bytes: BTreeMap::new(),
            permille: 0,
            doomed: false,
            given: Vec::new(),
            got: Vec::new(),
        }
    }

    /// Sends a message: output, a file's, progress, or any.
    pub(super) fn say(&mut self, u: &mut Unstructured<'_>) -> Result<End> {
        let message = message(u)?;
        if self.put(&self.frame(&message)) {
            self.foretell(&message);
        }
        Ok(None)
    }

    /// Sends a message with one wrong byte somewhere in its frame.
    pub(super) fn send_near(&mut self, u: &mut Unstructured<'_>) -> Result<End> {
        let mut frame = self.frame(&message(u)?);
        let at = u.choose_index(frame.len().min(64))?;
        frame[at] ^= u.arbitrary::<u8>()?;
        frame.truncate(frame.len() - usize::from(u.arbitrary::<u8>()?).min(frame.len() - FRAME_BYTES_MIN) / 16);
        self.honest = false;
        self.put(&frame);
        Ok(None)
    }

    /// Sends any frame.
    pub(super) fn send_any(&mut self, u: &mut Unstructured<'_>) -> Result<End> {
        let count = usize::from(u.arbitrary::<u8>()?).min(u.len());
        let mut frame = u.bytes(count)?.to_vec();
        frame.resize(frame.len().max(FRAME_BYTES_MIN), 0);
        self.honest = false;
        self.put(&frame);
        Ok(None)
    }

    /// Lies about a length or a position.
    pub(super) fn lie(&mut self, u: &mut Unstructured<'_>) -> Result<End> {
        let near = i64::from(u.arbitrary::<i16>()?) * if u.arbitrary()? { 8 } else { 1 };
        let word = if u.ratio(1, 4)? { u.arbitrary()? } else { self.head.wrapping_add_signed(near) };
        self.honest = false;
        match u.int_in_range(0..=2u8)? {
            0 => self.memory.set_control(Control { transmit_head: word, ..self.memory.control() }),
            1 => {
                let tail = if u.arbitrary()? { word } else { self.tail.wrapping_add_signed(near) };
                self.memory.set_control(Control { receive_tail: tail, ..self.memory.control() });
            }
            _ => {
                let ram = self.memory.ram();
                let place = RINGS.transmit + (self.head & (RINGS.transmit_bytes - 8));
                ram.write_obj(u.arbitrary::<u32>()?, place as usize).expect("it is in the ring");
                self.memory.set_control(Control { transmit_head: self.head + 64, ..self.memory.control() });
            }
        }
        Ok(None)
    }

    /// Takes all frames from its receive ring, and what input is in them.
    pub(super) fn receive(&mut self) -> End {
        let registers = self.memory.registers().expect("they are there");
        while self.honest && self.tail < registers.receive_head {
            let length = self.read(self.tail, 4);
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
            assert!((FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length));
            let frame = self.read(self.tail + 8, length);
            assert_eq!(frame[..6], self.link.vm_mac);
            let message = &frame[UDP_HEADERS_BYTES..];
            if message[0] == INPUT {
                self.got.extend_from_slice(&message[HEADER_BYTES..]);
            }
            self.tail += (8 + length as u64).next_multiple_of(8);
        }
        if self.honest {
            assert_eq!(self.tail, registers.receive_head);
            assert!(self.given.starts_with(&self.got));
            self.memory.set_control(Control { receive_tail: self.tail, ..self.memory.control() });
        }
        None
    }

    pub(super) fn expect_input(&mut self, bytes: &[u8]) {
        self.given.extend_from_slice(bytes);
    }

    /// After the gateway looked at the rings.
    pub(super) fn check(&self, result: &std::result::Result<(), GatewayError>, kept: &Kept, gateway: &Gateway) {
        let progress = gateway.progress();
        let registers = self.memory.registers().expect("they are there");
        assert_eq!((registers.transmit_tail, registers.receive_head), (progress.taken, progress.received));
        if !self.honest || gateway.held() && result.is_ok() {
            return;
        }
        assert_eq!(result.is_err(), self.doomed, "{result:?}");
        let arrived = kept.arrived();
        assert!(arrived.bytes == self.bytes && arrived.permille == self.permille, "what it sent is what arrives");
        assert!(self.doomed || progress.taken == self.head);
    }

    /// What comes of an honest message after all before it.
    fn foretell(&mut self, message: &[u8]) {
        if self.doomed {
            return;
        }
        let (kind, rest) = (message[0], &message[HEADER_BYTES..]);
        let channel = match kind {
            OUTPUT => Channel::Output,
            ERROR => Channel::Error,
            PROGRESS if rest.len() >= 2 => {
                self.permille = self.permille.max(u16::from_le_bytes([rest[0], rest[1]]).min(1000));
                return;
            }
            FILE => match self.name(message) {
                Some(name) => Channel::File(name.to_owned()),
                None => return self.doomed = true,
            },
            _ => return self.doomed = true,
        };
        let bytes = if let Channel::File(name) = &channel { &rest[name.len()..] } else { rest };
        let kept = bytes.len().min(self.left as usize);
        self.left -= kept as u64;
        self.doomed = kept < bytes.len();
        if kept > 0 || matches!(channel, Channel::File(_)) {
            self.bytes.entry(channel).or_default().extend_from_slice(&bytes[..kept]);
        }
    }

    /// The name of a file's message, if the file may be.
    fn name<'m>(&self, message: &'m [u8]) -> Option<&'m str> {
        let length = usize::from(u16::from_le_bytes([message[2], message[3]]));
        let name =
            str::from_utf8(message[HEADER_BYTES..].get(..length)?).ok().filter(|name| path::check(name).is_ok())?;
        let names: Vec<&str> = self
            .bytes
            .keys()
            .filter_map(|channel| match channel {
                Channel::File(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let within = |file: &str, directory: &str| file.starts_with(&format!("{directory}/"));
        let clash = names.iter().any(|other| within(name, other) || within(other, name));
        (names.contains(&name) || names.len() < FILES && !clash).then_some(name)
    }

    /// A frame to the gateway's job port.
    fn frame(&self, message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; UDP_HEADERS_BYTES];
        frame.extend_from_slice(message);
        // The gateway's own headers, the other way around.
        self.link.finish(&mut frame);
        let (to, from) = (self.link.gateway_mac, self.link.vm_mac);
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&from);
        let addresses: [u8; 8] = std::array::from_fn(|n| frame[26 + (n + 4) % 8]);
        frame[26..34].copy_from_slice(&addresses);
        frame
    }

    /// Puts a frame where there is room for it, and says so.
    fn put(&mut self, frame: &[u8]) -> bool {
        let registers = self.memory.registers().expect("they are there");
        let end = self.head + (8 + frame.len() as u64).next_multiple_of(8);
        if end.wrapping_sub(registers.transmit_tail) > RINGS.transmit_bytes {
            return false;
        }
        let header = (frame.len() as u64).to_le_bytes();
        let mut position = self.head;
        for part in [&header[..], frame] {
            let place = (position & (RINGS.transmit_bytes - 1)) as usize;
            let first = part.len().min(RINGS.transmit_bytes as usize - place);
            let ram = self.memory.ram();
            ram.write_slice(&part[..first], RINGS.transmit as usize + place).expect("it is in the ring");
            ram.write_slice(&part[first..], RINGS.transmit as usize).expect("it is in the ring");
            position += part.len() as u64;
        }
        self.head = end;
        self.memory.set_control(Control { transmit_head: end, ..self.memory.control() });
        true
    }

    fn read(&self, position: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let place = (position & (RINGS.receive_bytes - 1)) as usize;
        let first = length.min(RINGS.receive_bytes as usize - place);
        let ram = self.memory.ram();
        ram.read_slice(&mut bytes[..first], RINGS.receive as usize + place).expect("it is in the ring");
        ram.read_slice(&mut bytes[first..], RINGS.receive as usize).expect("it is in the ring");
        bytes
    }
}

fn message(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let kind = if u.ratio(1, 32)? { u.arbitrary()? } else { *u.choose(&[OUTPUT, ERROR, FILE, FILE, PROGRESS])? };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    if kind == FILE {
        let name = if u.ratio(1, 4)? { u.arbitrary::<&str>()? } else { *u.choose(&NAMES)? };
        let name = name.get(..name.len().min(300)).unwrap_or("?");
        let length = if u.ratio(1, 16)? { u.arbitrary()? } else { name.len() as u16 };
        message[2..4].copy_from_slice(&length.to_le_bytes());
        message.extend_from_slice(name.as_bytes());
    }
    let (count, byte) = (u.arbitrary::<u8>()?, u.arbitrary::<u8>()?);
    // Now and then a long one.
    let count = if byte < 8 { usize::from(count) * 230 } else { usize::from(count) };
    message.extend((0..count).map(|n| byte.wrapping_add(n as u8)));
    Ok(message)
}

const _: () = assert!(REGISTERS + PAGE_BYTES == CONTROL);

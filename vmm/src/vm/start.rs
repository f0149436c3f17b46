//! Starting a job in virtual hardware: virtual registers written, arguments and input on the ring.

use super::{
    Hardware, Phase, Told, Vm,
    hardware::HardwareError,
    template::{Template, next_generation},
};
use crate::{
    gateway::{Bench, Feed, GATEWAY_IP, Gateway, Link, Progress, Sink, VM_IP},
    kvm::{Host, time_stamp},
    machine::image::Image,
    nic::cable::Rings,
};
use denali_abi::{
    VERSION,
    job::{HEADER_BYTES, MESSAGE_BYTES_MAX, UDP_HEADERS_BYTES},
    memory::PAGE_BYTES,
    registers::{MAGIC, VirtualRegisters},
    ring::{FRAME_BYTES_MAX, MTU, RECEIVE_BYTES_MIN, RECORD_HEADER_BYTES, TRANSMIT_BYTES},
};
use denali_protocol::{
    bundle::CpuModel,
    job::{Exits, Limits, VmId},
    receipt::StartPath,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One job, to be given to one VM.
pub(crate) struct Assignment {
    pub(crate) vm: VmId,
    pub(crate) arguments: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) input: Feed,
    pub(crate) sink: Box<dyn Sink>,
}

/// A job's arguments are too long for one message.
#[derive(Debug, thiserror::Error)]
#[error("the arguments take {bytes} bytes, more than the {MESSAGE_BYTES_MAX} of a message")]
pub(crate) struct ArgumentsError {
    bytes: usize,
}

impl Assignment {
    /// Whether a VM can be given these arguments at all.
    pub(crate) fn check(arguments: &[String]) -> Result<(), ArgumentsError> {
        let bytes = HEADER_BYTES + 4 + arguments.iter().map(|argument| 4 + argument.len()).sum::<usize>();
        if bytes > MESSAGE_BYTES_MAX { Err(ArgumentsError { bytes }) } else { Ok(()) }
    }
}

/// What a VM is given at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The job: arguments and input are on the ring before the first instruction.
    Job,
    /// Nothing, until it reaches a CHECKPOINT, where a copy without the job is taken; or waits without one.
    NothingYet,
}

impl Vm {
    /// Starts a job in `hardware`, which is as its template. `begun` is when making it began.
    pub(crate) fn start(
        host: &Host,
        hardware: Hardware,
        job: Assignment,
        path: StartPath,
        given: Given,
        begun: Instant,
        frame: &mut Vec<u8>,
    ) -> Result<Self, HardwareError> {
        // The rings of a copy suit all jobs.
        let input_bytes = if given == Given::Job { job.input.bytes() } else { 0 };
        let rings = place_rings(&hardware.template, input_bytes);
        let link = Link::of(job.vm.0);
        let now = Instant::now();
        let clock_zero = now.checked_sub(hardware.template.clock).unwrap_or(now);
        let registers = registers(host, &hardware.template, &job, rings, link, given)?;
        #[cfg(test)]
        let registers = super::leaks::registers_with_left_out(registers);
        hardware.machine.memory().write_registers(registers)?;
        let gateway = Gateway::new(rings, link, job.input, job.limits.output_bytes, job.sink);
        let mut vm = Self {
            id: job.vm,
            hardware,
            gateway,
            withheld: Some(job.arguments),
            limits: job.limits,
            exits: Exits::default(),
            phase: Phase::Built,
            changing: None,
            seen: Progress::default(),
            told: Told::default(),
            clock_zero,
            path,
            begun,
            start: Duration::ZERO,
            entered: None,
            cpu: Duration::ZERO,
            memory_peak_kib: 0,
        };
        if given == Given::Job {
            vm.give(frame);
        }
        Ok(vm)
    }

    /// Gives the job to a VM that has not got it yet.
    pub(crate) fn give(&mut self, frame: &mut Vec<u8>) {
        let Some(arguments) = self.withheld.take() else { return };
        let mut bench = Bench { memory: self.hardware.machine.memory(), frame };
        if let Err(error) = self.gateway.begin(&mut bench, &arguments) {
            self.doom(error.into());
        }
        // It is told of these when it is entered.
        self.seen = self.gateway.progress();
    }

    /// Puts more input on the ring of a VM that was just given its job. `false` where there is no room for all of it: the rest
    /// waits at its door.
    pub(crate) fn supply(&mut self, bytes: Vec<u8>, end: bool, frame: &mut Vec<u8>) -> bool {
        self.gateway.feed(bytes, end);
        if let Err(error) = self.gateway.fill(&mut Bench { memory: self.hardware.machine.memory(), frame }) {
            self.doom(error.into());
        }
        self.seen = self.gateway.progress();
        self.gateway.input_left() == 0
    }
}

/// Room in the receive ring where the input asks for no more, as far as memory allows.
const RECEIVE_BYTES: u64 = 1 << 20;

/// Puts the rings behind the image. At the entry point the receive ring holds all of the input where memory allows, so that a
/// job needs no exit to get it: at most a quarter of what is left. A guest at a CHECKPOINT has its rings already.
fn place_rings(template: &Template, input_bytes: u64) -> Rings {
    let image = &template.image;
    let wanted = if template.is_warm() { 0 } else { ring_bytes(input_bytes) };
    let receive_bytes = most_ring_bytes(image).min(wanted.max(RECEIVE_BYTES)).max(RECEIVE_BYTES_MIN);
    let transmit = image.end;
    Rings { transmit, transmit_bytes: TRANSMIT_BYTES, receive: transmit + TRANSMIT_BYTES, receive_bytes }
}

/// Whether the rings of a VM at a CHECKPOINT hold all of such an input, or none would hold more.
pub(crate) fn usual_rings_suffice(template: &Template, input_bytes: u64) -> bool {
    ring_bytes(input_bytes) <= RECEIVE_BYTES || most_ring_bytes(&template.image) <= RECEIVE_BYTES
}

/// Bytes of a ring, a power of two, that holds an input of so many bytes and the arguments.
fn ring_bytes(input_bytes: u64) -> u64 {
    let per_frame = (RECORD_HEADER_BYTES as usize + UDP_HEADERS_BYTES + HEADER_BYTES) as u64;
    let frames = input_bytes / (FRAME_BYTES_MAX as u64 - per_frame) + 2;
    let bytes = input_bytes.saturating_add(frames * 2 * per_frame + FRAME_BYTES_MAX as u64);
    bytes.checked_next_power_of_two().unwrap_or(1 << 63)
}

/// The largest power of two that is no more than a quarter of the memory left.
fn most_ring_bytes(image: &Image) -> u64 {
    1 << ((image.memory_bytes - image.end) / 4).max(1).ilog2()
}

fn registers(
    host: &Host,
    template: &Template,
    job: &Assignment,
    rings: Rings,
    link: Link,
    given: Given,
) -> Result<VirtualRegisters, HardwareError> {
    let image = &template.image;
    let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = template.clock.as_nanos() * u128::from(host.tsc_hz) / 1_000_000_000;
    Ok(VirtualRegisters {
        magic: MAGIC,
        abi_version: VERSION,
        cpu_level: if image.cpu == CpuModel::V3 { 3 } else { 2 },
        vm_id: job.vm.0,
        generation: next_generation(),
        memory_bytes: image.memory_bytes,
        heap_start: rings.end(),
        modules: image.modules,
        module_count: image.module_count,
        tsc_hz: host.tsc_hz,
        tsc_base: time_stamp().wrapping_sub(ticks as u64),
        tsc_to_ns: ((1_000_000_000u128 << 32) / u128::from(host.tsc_hz.max(1))) as u64,
        realtime_base_ns: realtime.saturating_sub(template.clock).as_nanos() as u64,
        cpu_limit_us: job.limits.cpu_time_us,
        cpu_used_us: 0,
        pending: 0,
        transmit_ring: rings.transmit,
        transmit_bytes: rings.transmit_bytes,
        receive_ring: rings.receive,
        receive_bytes: rings.receive_bytes,
        transmit_tail: 0,
        receive_head: 0,
        kick_wanted: 1,
        mtu: MTU as u32,
        mac: link.vm_mac,
        reserved_mac: [0; 2],
        gateway_mac: link.gateway_mac,
        reserved_gateway_mac: [0; 2],
        ip: VM_IP,
        gateway_ip: GATEWAY_IP,
        random_seed: host.random_seed(),
        checkpoint_wanted: u32::from(given == Given::NothingYet),
        reserved: 0,
    })
}

const _: () = assert!(TRANSMIT_BYTES.is_multiple_of(PAGE_BYTES) && RECEIVE_BYTES_MIN.is_multiple_of(PAGE_BYTES));

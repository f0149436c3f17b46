//! Building a VM: memory from the image, arguments and input on the ring, registers set.

use super::{Door, Vm};
use crate::{
    gateway::{GATEWAY_IP, Gateway, GatewayError, Link, Sink, VM_IP, bytes_left},
    kvm::{GuestMemory, Host, HostError, MachineError, VirtualMachine},
    machine::image::Image,
    nic::cable::{Cable, Rings},
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
};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{EventfdFlags, eventfd};
use std::{
    fs::File,
    io,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// One job, to be given to one VM.
pub(crate) struct Assignment<'a> {
    pub(crate) vm: VmId,
    pub(crate) arguments: &'a [String],
    pub(crate) limits: Limits,
    pub(crate) input: File,
    pub(crate) sink: Box<dyn Sink>,
}

/// Why no VM was built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The job is at fault.
    #[error("the arguments take {bytes} bytes, more than the {MESSAGE_BYTES_MAX} of a message")]
    Arguments { bytes: usize },
    /// The host can't be what the bundle asks for.
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("the host could not map memory for a VM: {0}")]
    Memory(#[from] io::Error),
    #[error("the host could not write a VM's memory: {0}")]
    Write(#[from] vm_memory::VolatileMemoryError),
    #[error("the host has no random numbers")]
    Random,
    #[error("the VM's NIC could not be set up: {0}")]
    Gateway(#[from] GatewayError),
}

impl Vm {
    /// Builds a VM of `image` for one job.
    pub(crate) fn build(host: &Host, image: &Image, job: Assignment<'_>) -> Result<Self, BuildError> {
        let begun = Instant::now();
        Host::offers(image.cpu)?;
        let bytes = HEADER_BYTES + 4 + job.arguments.iter().map(|a| 4 + a.len()).sum::<usize>();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(BuildError::Arguments { bytes });
        }
        let memory = Arc::new(GuestMemory::new(image)?);
        let input_bytes = bytes_left(&job.input)?;
        let rings = place_rings(image, input_bytes.unwrap_or(0));
        let watched = if input_bytes.is_none() { Some(job.input.try_clone()?.into()) } else { None };
        let link = Link::of(job.vm.0);
        let clock_zero = Instant::now();
        memory.write_registers(registers(host, image, &job, rings, link)?)?;
        let cable = Cable::new(Arc::clone(&memory), rings);
        let gateway = Gateway::new(cable, link, job.arguments, job.input, job.limits.output_bytes, job.sink)?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?;
        let machine = VirtualMachine::new(host, memory, image.cpu, image.entry)?;
        Ok(Self {
            id: job.vm,
            machine,
            door: Arc::new(Door::new(gateway, doorbell, watched, job.limits)),
            limits: job.limits,
            exits: Exits::default(),
            pagemap: Arc::clone(&host.pagemap),
            has_doorbell: false,
            begun,
            clock_zero,
        })
    }
}

/// Puts the rings behind the image. The receive ring holds all of the input where memory allows, so that a job needs no
/// exit to get it: at most a quarter of what is left.
fn place_rings(image: &Image, input_bytes: u64) -> Rings {
    let per_frame = (RECORD_HEADER_BYTES as usize + UDP_HEADERS_BYTES + HEADER_BYTES) as u64;
    let frames = input_bytes / (FRAME_BYTES_MAX as u64 - per_frame) + 2;
    let wanted = input_bytes.saturating_add(frames * 2 * per_frame + FRAME_BYTES_MAX as u64);
    let quarter = (image.memory_bytes - image.end) / 4;
    let most = if quarter.is_power_of_two() { quarter } else { quarter.next_power_of_two() / 2 };
    let receive_bytes = wanted.checked_next_power_of_two().unwrap_or(most).min(most).max(RECEIVE_BYTES_MIN);
    let transmit = image.end;
    Rings { transmit, transmit_bytes: TRANSMIT_BYTES, receive: transmit + TRANSMIT_BYTES, receive_bytes }
}

fn registers(
    host: &Host,
    image: &Image,
    job: &Assignment<'_>,
    rings: Rings,
    link: Link,
) -> Result<VirtualRegisters, BuildError> {
    let mut random_seed = [0; 32];
    SystemRandom::new().fill(&mut random_seed).map_err(|_| BuildError::Random)?;
    let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(VirtualRegisters {
        magic: MAGIC,
        abi_version: VERSION,
        cpu_level: if image.cpu == CpuModel::V3 { 3 } else { 2 },
        vm_id: job.vm.0,
        generation: 1,
        memory_bytes: image.memory_bytes,
        heap_start: rings.receive + rings.receive_bytes,
        modules: image.modules,
        module_count: image.module_count,
        tsc_hz: host.tsc_hz,
        tsc_base: crate::kvm::time_stamp(),
        tsc_to_ns: ((1_000_000_000u128 << 32) / u128::from(host.tsc_hz.max(1))) as u64,
        realtime_base_ns: realtime.as_nanos() as u64,
        cpu_limit_us: job.limits.cpu_time_us,
        cpu_used_us: 0,
        pending: 0,
        transmit_ring: rings.transmit,
        transmit_bytes: rings.transmit_bytes,
        receive_ring: rings.receive,
        receive_bytes: rings.receive_bytes,
        transmit_tail: 0,
        receive_head: 0,
        kick_wanted: 0,
        mtu: MTU as u32,
        mac: link.vm_mac,
        reserved_mac: [0; 2],
        gateway_mac: link.gateway_mac,
        reserved_gateway_mac: [0; 2],
        ip: VM_IP,
        gateway_ip: GATEWAY_IP,
        random_seed,
    })
}

const _: () = assert!(TRANSMIT_BYTES.is_multiple_of(PAGE_BYTES) && RECEIVE_BYTES_MIN.is_multiple_of(PAGE_BYTES));

//! Another VM of the same process: it computes what it should, and no one touches its memory meanwhile.

use super::{
    assembler::{Code, RAX, RBX, RCX, RDI, RDX},
    layout::{HEAP, TEXT},
    verdict::{AttackError, Finding, Oracle},
};
use crate::{
    gateway::{Feed, Sink},
    kvm::{self, Alarm, Host},
    vm::{Assignment, Given, Hardware, Stop, Template, Vm},
};
use denali_abi::instruction::TERMINATE;
use denali_protocol::{
    job::{Channel, Limits, Outcome, VmId},
    receipt::StartPath,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use vm_memory::Bytes;

/// Words that it computes.
const WORDS: u64 = 2048;

/// Factor and summand of its numbers (Knuth, MMIX).
const FACTOR: u64 = 6_364_136_223_846_793_005;
const SUMMAND: u64 = 1_442_695_040_888_963_407;

/// What it ends with.
const STATUS: u8 = 0x5a;

/// The neighbour.
#[derive(Debug)]
pub(super) struct Neighbour {
    hardware: Option<Hardware>,
    template: Arc<Template>,
    runs: u64,
}

struct Nowhere;

impl Sink for Nowhere {
    fn output(&mut self, _channel: Channel, _bytes: &[u8]) {}
    fn progress(&mut self, _permille: u16) {}
}

impl Neighbour {
    pub(super) fn new(template: &Arc<Template>) -> Self {
        Self { hardware: None, template: Arc::clone(template), runs: 0 }
    }

    /// Looks whether its memory is as it left it, and lets it compute again.
    pub(super) fn check(
        &mut self,
        host: &Host,
        alarm: &Alarm,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Finding>, AttackError> {
        let mut hardware = match self.hardware.take() {
            Some(mut hardware) => {
                if let Some(wrong) = wrong_word(&mut hardware, self.runs)? {
                    let detail = format!("its word {wrong} changed while others ran");
                    return Ok(Some(Finding::new(Oracle::Neighbour, detail)));
                }
                hardware.reset(&host.pagemap)?;
                hardware
            }
            None => Hardware::new(host, &self.template)?,
        };
        self.runs += 1;
        hardware.machine().memory().ram().write_slice(&code(self.runs), TEXT as usize)?;
        let (outcome, mut hardware) = run(host, hardware, alarm, frame)?;
        let wrong = wrong_word(&mut hardware, self.runs)?;
        self.hardware = Some(hardware);
        let detail = match (outcome, wrong) {
            (Outcome::Exited(STATUS), None) => return Ok(None),
            (outcome, Some(word)) => format!("its end: {outcome}; and its word {word} is wrong"),
            (outcome, None) => format!("its end: {outcome}"),
        };
        Ok(Some(Finding::new(Oracle::Neighbour, detail)))
    }
}

fn run(
    host: &Host,
    hardware: Hardware,
    alarm: &Alarm,
    frame: &mut Vec<u8>,
) -> Result<(Outcome, Hardware), AttackError> {
    const SLICE: Duration = Duration::from_millis(20);
    const TIME_US: u64 = 10_000_000;
    let memory_bytes = hardware.template().image.memory_bytes;
    let limits = Limits { memory_bytes, cpu_time_us: TIME_US, wall_time_us: TIME_US, output_bytes: 0 };
    let (vm, input, sink) = (VmId(u64::MAX), Feed::default(), Box::new(Nowhere));
    let job = Assignment { vm, arguments: Vec::new(), limits, input, sink };
    let mut vm = Vm::start(host, hardware, job, StartPath::Reimaged, Given::Job, Instant::now(), frame)?;
    let outcome = loop {
        kvm::forget_interruption();
        if let Stop::Ended(outcome) = vm.run(alarm, SLICE, frame) {
            break outcome;
        }
    };
    let (outcome, _) = vm.finish(host, outcome, frame);
    Ok((outcome, vm.into_hardware()))
}

/// Fills the heap with the numbers that follow `seed`.
fn code(seed: u64) -> Vec<u8> {
    let mut code = Code::default();
    code.mov(RAX, seed).mov(RBX, FACTOR).mov(RCX, WORDS).mov(RDX, SUMMAND).mov(RDI, HEAP);
    // 1: imul rax, rbx; add rax, rdx; mov [rdi], rax; add rdi, 8; dec rcx; jnz 1b
    code.raw(&[0x48, 0x0f, 0xaf, 0xc3, 0x48, 0x01, 0xd0, 0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 0x08]);
    code.raw(&[0x48, 0xff, 0xc9, 0x75, 0xed]);
    code.instruction(TERMINATE as u8, [u64::from(STATUS), 0, 0, 0]);
    code.0
}

/// The first word of its heap that is not the number that it should be.
fn wrong_word(hardware: &mut Hardware, seed: u64) -> Result<Option<u64>, AttackError> {
    let mut bytes = vec![0; 8 * WORDS as usize];
    hardware.machine().memory().ram().read_slice(&mut bytes, HEAP as usize)?;
    let mut number = seed;
    Ok((0..).zip(bytes.as_chunks::<8>().0).find_map(|(n, word)| {
        number = number.wrapping_mul(FACTOR).wrapping_add(SUMMAND);
        (u64::from_le_bytes(*word) != number).then_some(n)
    }))
}

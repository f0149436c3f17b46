//! What is attacked: virtual hardware that is put back to its image before each program, exactly as a worker does it.

use super::{
    case::{Case, Happening, Program},
    features::features,
    forecast::forecast,
    guards::Guards,
    layout::{MEMORY_BYTES, elf},
    leftovers::{self, Sight},
    neighbour::Neighbour,
    trace::Trace,
    truth::{self, untruths},
};
use crate::{
    gateway::{Feed, Sink, Verdict as Sentence},
    kvm::{self, Alarm, Host, HostError, Recorder},
    machine::{
        image::{Image, ImageError},
        stubs::{Stub, stub_at},
    },
    vm::{Assignment, Given, Hardware, HardwareError, Stop, Template, Vm},
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES, REGISTERS},
    registers::VirtualRegisters,
};
use denali_protocol::{
    bundle::{Content, ContentError, CpuModel, PackError, PackRequest, pack},
    job::{Channel, Limits, Outcome, Usage, VmId},
    receipt::StartPath,
};
use std::{
    io,
    mem::offset_of,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use vm_memory::{Bytes, VolatileMemoryError};

/// Why nothing can be attacked.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// This host can't run VMs.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The host can't make or start a VM.
    #[error("{0}")]
    Hardware(String),
    /// The host failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The program does not fit a bundle.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The same.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The program is none for a VM.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The host's memory failed.
    #[error(transparent)]
    Memory(#[from] VolatileMemoryError),
}

impl From<HardwareError> for AttackError {
    fn from(error: HardwareError) -> Self {
        Self::Hardware(error.to_string())
    }
}

/// Which promise a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Oracle {
    /// What is reported is what happened.
    Truth,
    /// A program ends as its instructions say.
    Forecast,
    /// A program is stopped by its limits.
    Limits,
    /// Nothing is left for the next program.
    Leftovers,
    /// Other VMs compute what they should.
    Neighbour,
    /// Memory around the VM, and its image, stay as they are.
    Guards,
    /// Descriptors, mappings and memory are given back.
    Resources,
    /// Nothing panics.
    Panic,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub oracle: Oracle,
    /// How.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(oracle: Oracle, detail: impl Into<String>) -> Self {
        Self { oracle, detail: detail.into() }
    }
}

/// What came of a program.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How its VM ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What it did.
    pub trace: Trace,
    /// What it reached, as numbers below [`super::FEATURES`], ascending: feedback for a fuzzer.
    pub features: Vec<u16>,
    /// Promises that were broken.
    pub findings: Vec<Finding>,
}

/// A VM is given the CPU for so long at a time.
const SLICE: Duration = Duration::from_millis(1);

/// Time from the first instruction to the end, in microseconds.
const WALL_TIME_US: u64 = 5_000_000;

/// Time of the VM's clock up to which IDLE is waited for, in nanoseconds; a program that idles longer meets its next event,
/// or is cancelled.
const PATIENCE_NS: u64 = 200_000;
const PATIENCE: Duration = Duration::from_nanos(PATIENCE_NS);

/// A program that runs longer was not stopped by its limits.
const HANGS: Duration = Duration::from_secs(20);

/// Programs from one inspection to the next.
pub const INSPECTION_INTERVAL: u64 = 512;

#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Sink for Counted {
    fn output(&mut self, _channel: Channel, bytes: &[u8]) {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    fn progress(&mut self, _permille: u16) {}
}

/// Virtual hardware in the calling process, for one hostile program after the other. It belongs to the thread that made it.
pub struct Target {
    host: Host,
    template: Arc<Template>,
    hardware: Option<Hardware>,
    alarm: Alarm,
    frame: Vec<u8>,
    programs: u64,
    /// Hardware made so far.
    made: u64,
    guards: Guards,
    neighbour: Neighbour,
    /// The virtual CPU as a guest sees it in new hardware; only where guests are ours to choose.
    fresh: Option<Sight>,
    last: Trace,
}

/// What [`Target::run_vm`] saw.
struct Ran {
    outcome: Outcome,
    usage: Usage,
    trace: Trace,
    cancelled: bool,
    output: u64,
    findings: Vec<Finding>,
}

impl Target {
    /// A target for generated and flat programs.
    ///
    /// # Errors
    /// [`AttackError`], by fault of the host.
    pub fn new() -> Result<Self, AttackError> {
        let mut target = Self::of(&elf(), MEMORY_BYTES)?;
        target.fresh = Some(target.look()?.1);
        Ok(target)
    }

    /// A target for programs that start as an ELF file for the Denali VM says.
    ///
    /// # Errors
    /// [`AttackError`], by fault of the host or of the file.
    pub fn of_elf(file: &[u8]) -> Result<Self, AttackError> {
        const ELF_MEMORY_BYTES: u64 = 64 << 20;
        Self::of(file, ELF_MEMORY_BYTES)
    }

    /// A target for this program.
    ///
    /// # Errors
    /// [`AttackError`], by fault of the host or of the program.
    pub fn for_case(case: &Case) -> Result<Self, AttackError> {
        match &case.program {
            Program::Pieces { .. } => Self::new(),
            Program::Elf(file) => Self::of_elf(file),
        }
    }

    fn of(program: &[u8], memory_bytes: u64) -> Result<Self, AttackError> {
        let host = open()?;
        kvm::install_kick_handler()?;
        let usual = template(&elf(), MEMORY_BYTES)?;
        let template = template(program, memory_bytes)?;
        let (guards, hardware) = Guards::around(&template, || Ok(Hardware::new(&host, &template)?))?;
        Ok(Self {
            host,
            template,
            hardware: Some(hardware),
            alarm: Alarm::new()?,
            frame: Vec::new(),
            programs: 0,
            made: 1,
            guards,
            neighbour: Neighbour::new(&usual),
            fresh: None,
            last: Trace::default(),
        })
    }

    /// Programs run so far.
    #[must_use]
    pub fn programs(&self) -> u64 {
        self.programs
    }

    /// VMs made so far: where hardware can't be put back, it is made anew.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Runs a program, and looks whether every promise held; the more costly ones once in [`INSPECTION_INTERVAL`] programs.
    ///
    /// # Errors
    /// [`AttackError`] where the host can't make or start a VM.
    pub fn run(&mut self, case: &Case) -> Result<Verdict, AttackError> {
        let mut verdict = self.run_and_judge(case)?;
        self.programs += 1;
        self.last.clone_from(&verdict.trace);
        if self.programs.is_multiple_of(INSPECTION_INTERVAL) {
            verdict.findings.extend(self.inspect()?);
        }
        Ok(verdict)
    }

    /// Looks at all that is looked at now and then: leftovers, the neighbour, the image and what lies around the VM.
    ///
    /// # Errors
    /// [`AttackError`] where the host can't make or start a VM.
    pub fn inspect(&mut self) -> Result<Vec<Finding>, AttackError> {
        let mut findings: Vec<Finding> = self.hardware.iter().flat_map(leftovers::pages).collect();
        // First of all guests: each that runs may wipe away what is left.
        if let Some(fresh) = self.fresh.take() {
            let (outcome, sight) = self.look()?;
            findings.extend(leftovers::differences(&outcome, &sight, &fresh));
            self.fresh = Some(fresh);
            for case in leftovers::tries(&self.last) {
                findings.extend(self.run_and_judge(&case)?.findings);
            }
        }
        findings.extend(self.neighbour.check(&self.host, &self.alarm, &mut self.frame)?);
        findings.extend(self.guards.check()?);
        Ok(findings)
    }

    /// Lets a guest look at its virtual CPU.
    fn look(&mut self) -> Result<(Outcome, Sight), AttackError> {
        let hardware = self.take_hardware()?;
        let (ran, mut hardware) = self.run_vm(&leftovers::looker(), hardware)?;
        let sight = leftovers::sight(hardware.machine().memory())?;
        self.put_back(hardware);
        Ok((ran.outcome, sight))
    }

    fn run_and_judge(&mut self, case: &Case) -> Result<Verdict, AttackError> {
        let hardware = self.take_hardware()?;
        let (ran, hardware) = self.run_vm(case, hardware)?;
        self.put_back(hardware);
        Ok(judge(case, ran, self.template.image.memory_bytes))
    }

    fn take_hardware(&mut self) -> Result<Hardware, AttackError> {
        if let Some(hardware) = self.hardware.take() {
            return Ok(hardware);
        }
        self.made += 1;
        Ok(Hardware::new(&self.host, &self.template)?)
    }

    /// What can't be put back is destroyed, as by a worker. One destroys it after any fault that ends a VM; here it is used
    /// again after an exception too, as it is after one that was delivered, since a new VM takes ten times as long.
    fn put_back(&mut self, mut hardware: Hardware) {
        let machine = hardware.machine();
        if let Some(Stub::Exception(_)) = stub_at(machine.registers().rip) {
            machine.leave_stub();
        }
        self.hardware = hardware.reset(&self.host.pagemap).is_ok().then_some(hardware);
    }

    fn run_vm(&mut self, case: &Case, mut hardware: Hardware) -> Result<(Ran, Hardware), AttackError> {
        for (address, code) in case.code() {
            hardware.machine().memory().ram().write_slice(&code, address as usize)?;
        }
        let limits = limits(case, self.template.image.memory_bytes);
        let output = Counted::default();
        let mut input = Feed::messages();
        input.push(case.input.clone(), false);
        let job = Assignment {
            vm: VmId(self.programs),
            arguments: Vec::new(),
            limits,
            input,
            sink: Box::new(output.clone()),
        };
        let begun = Instant::now();
        let mut vm = Vm::start(&self.host, hardware, job, StartPath::Reimaged, Given::Job, begun, &mut self.frame)?;
        upset(&mut vm, case)?;
        let mut run = Course { case, next: 0, cancelled: false, findings: Vec::new() };
        let outcome = run.course(&mut vm, &self.alarm, &mut self.frame);
        let (outcome, usage) = vm.finish(&self.host, outcome, &mut self.frame);
        let recorder = vm.hardware().machine().record(None).unwrap_or_default();
        let Course { cancelled, findings, .. } = run;
        let output = output.0.load(Ordering::Relaxed);
        let ran = Ran { outcome, usage, trace: Trace::of(&recorder), cancelled, output, findings };
        Ok((ran, vm.into_hardware()))
    }
}

/// Opens the hypervisor. An alarm of this thread's last target may interrupt it.
fn open() -> Result<Host, HostError> {
    loop {
        match Host::open() {
            Err(HostError::Call { error, .. }) if error.kind() == io::ErrorKind::Interrupted => {}
            opened => return opened,
        }
    }
}

fn template(program: &[u8], memory_bytes: u64) -> Result<Arc<Template>, AttackError> {
    let request = PackRequest {
        name: "attack",
        cpu: CpuModel::V2,
        memory_bytes,
        cpu_time_us: 1,
        wall_time_us: 1,
        program,
        files: &[],
    };
    let image = Image::prepare(&Content::parse(&pack(&request)?)?, memory_bytes)?;
    Ok(Arc::new(Template::cold(image)?))
}

fn limits(case: &Case, memory_bytes: u64) -> Limits {
    let (cpu_time_us, output_bytes) = (case.cpu_time_us, case.output_bytes);
    Limits { memory_bytes, cpu_time_us, wall_time_us: WALL_TIME_US, output_bytes }
}

fn judge(case: &Case, ran: Ran, memory_bytes: u64) -> Verdict {
    let Ran { outcome, usage, trace, cancelled, output, mut findings } = ran;
    let limits = limits(case, memory_bytes);
    let run = truth::Run { outcome: &outcome, usage: &usage, trace: &trace, limits: &limits, cancelled, output };
    findings.extend(untruths(&run).into_iter().map(|detail| Finding::new(Oracle::Truth, detail)));
    if let Some(forecast) = forecast(case).filter(|forecast| !forecast.allows(&outcome, case)) {
        findings.push(Finding::new(Oracle::Forecast, format!("it {outcome}; its instructions say {forecast:x?}")));
    }
    let features = features(&outcome, &trace);
    Verdict { outcome, usage, trace, features, findings }
}

/// Writes what a case has at the entry, as the guest itself might in its first instructions.
fn upset(vm: &mut Vm, case: &Case) -> Result<(), AttackError> {
    let transmit = vm.rings().transmit;
    let machine = vm.hardware().machine();
    let ram = machine.memory().ram();
    ram.write_slice(&case.random_seed, REGISTERS as usize + offset_of!(VirtualRegisters, random_seed))?;
    ram.write_slice(&case.transmit[..case.transmit.len().min(PAGE_BYTES as usize)], transmit as usize)?;
    for (word, value) in &case.control {
        ram.write_slice(&value.to_le_bytes(), CONTROL as usize + 8 * usize::from(*word))?;
    }
    if !case.registers.is_empty() {
        let mut registers = machine.registers();
        for (n, value) in &case.registers {
            *general(&mut registers, *n) = *value;
        }
        machine.set_registers(registers);
    }
    let interruptions = case.events.iter().map(|event| u64::from(event.entry)).collect();
    machine.record(Some(Box::new(Recorder::interrupting(interruptions))));
    Ok(())
}

/// A general register by its number in encodings, of all but the stack pointer, which RAX stands in for.
fn general(registers: &mut kvm::Registers, n: u8) -> &mut u64 {
    match n & 15 {
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        15 => &mut registers.r15,
        _ => &mut registers.rax,
    }
}

/// A run under way.
struct Course<'a> {
    case: &'a Case,
    /// Events that came.
    next: usize,
    cancelled: bool,
    findings: Vec<Finding>,
}

impl Course<'_> {
    fn course(&mut self, vm: &mut Vm, alarm: &Alarm, frame: &mut Vec<u8>) -> Outcome {
        let begun = Instant::now();
        loop {
            kvm::forget_interruption();
            match vm.run(alarm, SLICE, frame) {
                Stop::Ended(outcome) => return outcome,
                Stop::Slice => self.events(vm),
                Stop::Idle(until) => self.idles(vm, until),
                stop => {
                    self.findings.push(Finding::new(Oracle::Truth, format!("a VM with a job stopped for {stop:?}")));
                    vm.doom(Sentence::Outcome(Outcome::Cancelled));
                    self.cancelled = true;
                }
            }
            if begun.elapsed() > HANGS {
                let detail = format!("it still runs after {HANGS:?}, with {:?} used", vm.usage());
                self.findings.push(Finding::new(Oracle::Limits, detail));
                return Outcome::Cancelled;
            }
        }
    }

    /// The events that are due.
    fn events(&mut self, vm: &mut Vm) {
        let entries = vm.hardware().machine().recorder().map_or(0, Recorder::entries);
        while self.case.events.get(self.next).is_some_and(|event| u64::from(event.entry) < entries) {
            self.event(vm);
        }
    }

    fn event(&mut self, vm: &mut Vm) {
        match &self.case.events[self.next].what {
            Happening::Interruption => {}
            Happening::Input { bytes, end } => vm.feed(bytes.clone(), *end),
            Happening::Cancel => self.cancel(vm),
        }
        self.next += 1;
    }

    fn cancel(&mut self, vm: &mut Vm) {
        self.cancelled = true;
        vm.doom(Sentence::Outcome(Outcome::Cancelled));
    }

    /// What the program asks for decides, rather than what is left of it now: so it does again in another run.
    fn idles(&mut self, vm: &mut Vm, until: Option<Instant>) {
        let asked = vm.hardware().machine().registers().rdi;
        match until {
            Some(until) if asked <= PATIENCE_NS => {
                std::thread::sleep(until.saturating_duration_since(Instant::now()).min(PATIENCE));
            }
            _ if self.next < self.case.events.len() => self.event(vm),
            _ => self.cancel(vm),
        }
    }
}

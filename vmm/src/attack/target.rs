//! What is attacked: virtual hardware that is put back to its image before each program, exactly as a worker does it.

use super::{
    case::{Case, Program},
    course::Course,
    entry::upset,
    guards::Guards,
    judge::{Ran, judge, limits},
    layout::{MEMORY_BYTES, elf},
    leftovers::{self, Sight},
    neighbour::Neighbour,
    trace::Trace,
    verdict::{AttackError, Finding, Verdict},
};
use crate::{
    gateway::{Feed, Sink},
    kvm::{self, Alarm, Host, HostError},
    machine::{
        image::Image,
        stubs::{Stub, stub_at},
    },
    vm::{Assignment, Given, Hardware, Template, Vm},
};
use denali_protocol::{
    bundle::{Content, CpuModel, PackRequest, pack},
    job::{Channel, Outcome, VmId},
    receipt::StartPath,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use vm_memory::Bytes;

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
        let mut input = Feed::default();
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
        let mut run = Course::new(case);
        let outcome = run.run(&mut vm, &self.alarm, &mut self.frame);
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

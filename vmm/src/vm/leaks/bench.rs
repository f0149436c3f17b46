//! Runs writers and readers in hardware that the test holds.

use super::{
    endings::{AMPLE, Ending, TIME_US},
    guest::{MEMORY_BYTES, content},
    sight::Sight,
};
use crate::{
    gateway::{Feed, Sink, Verdict},
    kvm::{Alarm, Host, forget_interruption, install_signal_handlers},
    machine::image::Image,
    schedule::SLICE,
    swap::{SwapSpace, create},
    vm::{Assignment, Given, Hardware, HardwareError, Loaded, Stop, Template, Vm, differing_pages},
};
use denali_protocol::{
    bundle::{Content, CpuModel},
    job::{Channel, Limits, Outcome, VmId},
    receipt::StartPath,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A host, and the template that VMs start from.
pub(super) struct Bench {
    host: Host,
    alarm: Alarm,
    template: Arc<Template>,
    frame: Vec<u8>,
    vms: u64,
    captured: (u64, [u8; 32]),
    /// Whether the next VM that idles is swapped out and brought back.
    swap: bool,
}

/// How VMs start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// At the entry point.
    Cold,
    /// From a copy taken at a CHECKPOINT.
    Warm,
}

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Sink for Collected {
    fn output(&mut self, _channel: Channel, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }

    fn progress(&mut self, _permille: u16) {}
}

impl Bench {
    pub(super) fn new(cpu: CpuModel, start: Start) -> Self {
        let host = Host::open().expect("these tests need KVM");
        install_signal_handlers().expect("signals can be handled");
        let content = content(cpu, matches!(start, Start::Warm));
        let image = Image::prepare(&Content::parse(&content).expect("a content"), MEMORY_BYTES).expect("an image");
        let template = Arc::new(Template::cold(image).expect("a template"));
        let alarm = Alarm::new().expect("a timer");
        let mut bench = Self { host, alarm, template, frame: Vec::new(), vms: 1, captured: (0, [0; 32]), swap: false };
        if matches!(start, Start::Warm) {
            let (mut vm, _) = bench.start(bench.fresh(), "R", AMPLE, Given::NothingYet);
            // A slice may end before, on a busy host.
            let stop = loop {
                forget_interruption();
                match vm.run(&bench.alarm, SLICE, &mut bench.frame) {
                    Stop::Slice => {}
                    stop => break stop,
                }
            };
            assert!(matches!(stop, Stop::Checkpoint), "{stop:?}");
            let registers = vm.hardware.machine.memory().registers().expect("they can be read");
            bench.captured = (registers.generation, registers.random_seed);
            bench.template = Arc::new(vm.capture(&bench.host).expect("a copy"));
        }
        bench
    }

    /// Generation and random seed of the VM that the copy was taken of.
    pub(super) fn captured(&self) -> (u64, [u8; 32]) {
        self.captured
    }

    /// Hardware that no job used.
    pub(super) fn fresh(&self) -> Hardware {
        Hardware::new(&self.host, &self.template).expect("the host makes VMs")
    }

    /// Puts hardware back.
    pub(super) fn reset(&self, hardware: &mut Hardware) -> Result<(), HardwareError> {
        hardware.reset(&self.host.pagemap)
    }

    /// Runs a writer, which must end as it should.
    pub(super) fn write(&mut self, hardware: Hardware, letter: char, ending: &Ending) -> Hardware {
        let argument = format!("{letter}{}", ending.letter);
        self.swap = ending.swapped;
        let (outcome, _, hardware) = self.run(hardware, &argument, ending.limits, ending.cancelled);
        assert!(!std::mem::take(&mut self.swap), "{}: it never idled", ending.name);
        assert!((ending.expected)(&outcome), "{}: {outcome:?}", ending.name);
        hardware
    }

    /// Runs a reader. It ends otherwise than with a report only where something leaked.
    pub(super) fn read(&mut self, hardware: Hardware) -> (Result<Sight, Outcome>, Hardware) {
        let (outcome, output, hardware) = self.run(hardware, "R", AMPLE, false);
        let sight = if outcome == Outcome::Exited(0) { Ok(Sight::new(output)) } else { Err(outcome) };
        (sight, hardware)
    }

    /// How the guest ends that writes to its program.
    pub(super) fn touch_program(&mut self, hardware: Hardware) -> Outcome {
        self.run(hardware, "T", AMPLE, false).0
    }

    /// Writes a VM to disk and brings it back, in the hardware that it left, put back to its start.
    fn swap_out_and_in(&self, vm: Vm) -> Vm {
        let file = create(&std::env::temp_dir()).expect("a file");
        let mut space = SwapSpace::new(file, 64 << 20).expect("room on the disk");
        let Ok((asleep, mut hardware)) = vm.sleep(&self.host, &mut space) else { panic!("there is room for it") };
        self.reset(&mut hardware).expect("it can be put back");
        assert_eq!(differing_pages(&hardware), (Vec::new(), Vec::new()), "what slept here is still here");
        asleep.load(hardware, &mut space).and_then(Loaded::wake).expect("it is as it was")
    }

    fn start(&mut self, hardware: Hardware, argument: &str, limits: Limits, given: Given) -> (Vm, Collected) {
        let collected = Collected::default();
        let job = Assignment {
            vm: VmId(self.vms),
            arguments: vec![argument.to_owned()],
            limits,
            input: Feed::default(),
            sink: Box::new(collected.clone()),
        };
        self.vms += 1;
        let vm = Vm::start(&self.host, hardware, job, StartPath::New, given, Instant::now(), &mut self.frame);
        (vm.expect("the VM starts"), collected)
    }

    fn run(
        &mut self,
        hardware: Hardware,
        argument: &str,
        limits: Limits,
        cancelled: bool,
    ) -> (Outcome, Vec<u8>, Hardware) {
        let (mut vm, collected) = self.start(hardware, argument, limits, Given::Job);
        let begun = Instant::now();
        let outcome = loop {
            forget_interruption();
            match vm.run(&self.alarm, SLICE, &mut self.frame) {
                Stop::Ended(outcome) => break outcome,
                // Not before it wrote everything.
                Stop::Slice if cancelled && begun.elapsed() < Duration::from_micros(TIME_US) => {}
                Stop::Slice | Stop::Idle(_) if cancelled => vm.doom(Verdict::Outcome(Outcome::Cancelled)),
                Stop::Idle(_) if std::mem::take(&mut self.swap) => vm = self.swap_out_and_in(vm),
                Stop::Idle(until) => {
                    let until = until.expect("its wall time ends");
                    thread::sleep(until.saturating_duration_since(Instant::now()));
                }
                Stop::Slice => {}
                stop => panic!("{stop:?}"),
            }
        };
        let (outcome, _) = vm.finish(&self.host, outcome, &mut self.frame);
        let output = collected.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (outcome, output, vm.into_hardware())
    }
}

//! What a hostile worker says, report by report, against what an honest one could say.

use super::{Run, Runs, Violation};
use arbitrary::{Result, Unstructured};
use denali_protocol::{
    bundle::path,
    digest::Digest,
    job::{Channel, Clock, Fault, FaultCause, Limits, Outcome, Usage, VmId},
    limits,
    receipt::{Receipt, StartPath},
};
use denali_vmm::worker::message::{Input, Report, RunId, Start, Status};
use std::collections::{BTreeMap, BTreeSet};

/// Most steps of one worker.
const STEPS: usize = 128;

/// What a run may still say.
struct Model {
    reimage: bool,
    limits: Limits,
    started: bool,
    bytes: u64,
    files: BTreeSet<String>,
}

/// Starts the runs and makes the reports that `data` describe. What passes is what an honest worker could have said, whatever
/// passes fits what is made of it, and nothing is kept of a run that has ended.
pub fn reports(data: &[u8]) {
    // It ends where the bytes do.
    let _ = talk(&mut Unstructured::new(data));
}

fn talk(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut runs, mut models) = (Runs::default(), BTreeMap::new());
    let (mut vms, mut next) = (BTreeSet::new(), 0);
    assert_eq!(runs.admit(Report::Status(Box::default())), Err(Violation::NotReady));
    if !matches!(runs.admit(Report::Ready(Ok(Vec::new()))), Ok(Report::Ready(Ok(_)))) {
        panic!("a worker is ready");
    }
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        if u.ratio(1, 4)? {
            let start = start(u, next)?;
            let model = Model {
                reimage: start.reimage,
                limits: start.limits,
                started: false,
                bytes: 0,
                files: BTreeSet::new(),
            };
            runs.begin(&start);
            models.insert(start.run, model);
            next += 1;
        }
        let report = report(u, next)?;
        match runs.admit(report.clone()) {
            Ok(admitted) => passed(&report, &admitted, &mut models, &mut vms),
            Err(violation) => {
                assert_ne!(violation.to_string(), "");
                // Its worker is killed.
                return Ok(());
            }
        }
        assert!(runs.runs.keys().all(|run| models.contains_key(run)) && runs.runs.len() == models.len());
        assert!(runs.vms.recent.len() <= 4096);
        let known = |run: &Run| run.files.len() <= limits::FILES && run.left_bytes <= run.limits.output_bytes;
        assert!(runs.runs.values().all(known));
    }
    Ok(())
}

/// A report passed: it keeps the rules, in other words than theirs.
fn passed(said: &Report, admitted: &Report, models: &mut BTreeMap<RunId, Model>, vms: &mut BTreeSet<VmId>) {
    match admitted {
        Report::Ready(_) => panic!("it was ready before"),
        Report::Status(_) => {}
        Report::Started { run, vm, path } => {
            let model = models.get_mut(run).expect("it has this run");
            assert!(!std::mem::replace(&mut model.started, true) && vms.insert(*vm));
            assert!(model.reimage || *path != StartPath::Reimaged);
        }
        Report::Output { run, channel, bytes } => {
            let model = models.get_mut(run).expect("it has this run");
            model.bytes += bytes.len() as u64;
            assert!(model.started && model.bytes <= model.limits.output_bytes);
            assert!(bytes.len() <= limits::OUTPUT_PIECE_BYTES);
            if let Channel::File(name) = channel {
                assert_eq!(path::check(name), Ok(()));
                let within = |file: &str, directory: &str| file.starts_with(&format!("{directory}/"));
                assert!(!model.files.iter().any(|other| within(other, name) || within(name, other)));
                model.files.insert(name.clone());
            } else {
                assert!(!bytes.is_empty());
            }
        }
        Report::Progress { run, permille } => assert!(models[run].started && *permille <= 1000),
        Report::Ended { run, outcome, .. } => {
            let model = models.remove(run).expect("it has this run");
            assert!(
                model.started || matches!(outcome, Outcome::Unstartable(_) | Outcome::Lost(_) | Outcome::Cancelled)
            );
            let Limits { memory_bytes, cpu_time_us, wall_time_us, output_bytes } = model.limits;
            match outcome {
                Outcome::TimeLimit { clock: Clock::Cpu, limit_us } => assert_eq!(*limit_us, cpu_time_us),
                Outcome::TimeLimit { clock: Clock::Wall, limit_us } => assert_eq!(*limit_us, wall_time_us),
                Outcome::MemoryLimit { limit_bytes } => assert_eq!(*limit_bytes, memory_bytes),
                Outcome::OutputLimit { limit_bytes } => assert_eq!(*limit_bytes, output_bytes),
                _ => {}
            }
            let text = outcome.to_string();
            assert!(!text.contains(char::is_control) && text.len() < limits::RECEIPT_BYTES / 2, "{text:?}");
            assert_eq!(
                outcome.exit_status(),
                match said {
                    Report::Ended { outcome, .. } => outcome.exit_status(),
                    other => panic!("{other:?}"),
                }
            );
        }
    }
}

fn limits_of(u: &mut Unstructured<'_>) -> Result<Limits> {
    let mut small = || Ok(u.int_in_range(0..=3u64)? * 1000);
    Ok(Limits { memory_bytes: small()?, cpu_time_us: small()?, wall_time_us: small()?, output_bytes: small()? })
}

fn start(u: &mut Unstructured<'_>, run: u64) -> Result<Start> {
    let (limits, reimage) = (limits_of(u)?, u.arbitrary()?);
    let (bundle, arguments, input) = (Digest([0; 32]), Vec::new(), Input::Messages);
    Ok(Start { run: RunId(run), bundle, arguments, limits, input, reimage })
}

fn report(u: &mut Unstructured<'_>, next: u64) -> Result<Report> {
    let run = RunId(u.int_in_range(0..=next)?);
    Ok(match u.int_in_range(0..=9u8)? {
        0 if u.ratio(1, 64)? => Report::Ready(Ok(Vec::new())),
        0 => Report::Status(Box::new(Status { idle: u.arbitrary()?, ..Status::default() })),
        1..=3 => {
            let vm = VmId(if u.ratio(1, 4)? { u.arbitrary()? } else { u.arbitrary::<u8>()?.into() });
            Report::Started { run, vm, path: *u.choose(&[StartPath::New, StartPath::Reimaged])? }
        }
        4..=6 => {
            let names = ["a", "b", "a/b", "b/c", "..", "", "a\u{202e}"];
            let channel = match u.int_in_range(0..=3u8)? {
                0 => Channel::Output,
                1 => Channel::Error,
                2 => Channel::File((*u.choose(&names)?).to_owned()),
                _ => Channel::File(u.arbitrary::<String>()?),
            };
            let bytes = if u.ratio(1, 32)? { 70_000 } else { u.arbitrary::<u8>()?.into() };
            Report::Output { run, channel, bytes: vec![1; bytes] }
        }
        7 => Report::Progress { run, permille: u.int_in_range(0..=1010)? },
        _ => Report::Ended { run, outcome: outcome(u)?, usage: Usage::default() },
    })
}

fn outcome(u: &mut Unstructured<'_>) -> Result<Outcome> {
    let count = u.int_in_range(0..=3usize)?;
    let long = u.arbitrary::<String>()?.repeat(if count == 3 { 2000 } else { count });
    let limit = u.int_in_range(0..=3u64)? * 1000;
    let fault = |cause| Outcome::Fault(Fault { cause, instruction_pointer: limit });
    Ok(match u.int_in_range(0..=11u8)? {
        0 => Outcome::Exited(u.arbitrary()?),
        1 => Outcome::Unstartable(long),
        2 => Outcome::Lost(long),
        3 => Outcome::Cancelled,
        4 => Outcome::TimeLimit { clock: Clock::Cpu, limit_us: limit },
        5 => Outcome::TimeLimit { clock: Clock::Wall, limit_us: limit },
        6 => Outcome::MemoryLimit { limit_bytes: limit },
        7 => Outcome::OutputLimit { limit_bytes: limit },
        8 => fault(FaultCause::VirtualInstruction { name: long.clone(), detail: long }),
        9 => fault(FaultCause::Nic { detail: long }),
        10 => fault(FaultCause::JobChannel { detail: long }),
        _ => fault(FaultCause::Upcall { detail: long }),
    })
}

const _: () = assert!(size_of::<Receipt>() > 0);

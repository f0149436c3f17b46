//! The program: started, served, and ended.

use crate::{
    bundle::Bundle,
    entry, fault,
    load::{Loaded, load},
    machine::{self, Vm},
    report, world,
};
use alloc::{format, vec::Vec};
use core::{
    arch::{asm, x86_64::__cpuid},
    cell::UnsafeCell,
    ops::Range,
};
use denali_guest::{eprintln, exit, interrupt, random};
use denali_linux::{
    call::{Frame, Machine, Next, Process, USER},
    elf::Start,
};

/// What could not even be started ends as in a shell.
const STATUS_UNSTARTABLE: u8 = 126;

/// What a program finds in its environment unless the bundle says otherwise.
const ENVIRONMENT: [&str; 3] = ["PATH=/bin:/usr/bin", "HOME=/tmp", "LANG=C.UTF-8"];

/// Most bytes of arguments and environment.
const START_BYTES: u64 = 128 << 10;

struct Running(UnsafeCell<Option<Process<Vm>>>);

// SAFETY: a VM has one virtual CPU, and the program makes one call at a time.
unsafe impl Sync for Running {}

static RUNNING: Running = Running(UnsafeCell::new(None));

/// What keeps a program from being started.
fn refuse(why: &str) -> ! {
    eprintln!("denali: {why}");
    exit(STATUS_UNSTARTABLE)
}

/// Loads the bundle's program, lets the VMM copy the VM, and starts it; `memory` is the VM's that nobody uses.
pub fn run(memory: Range<u64>) -> ! {
    let bundle = Bundle::read().unwrap_or_else(|why| refuse(&why));
    let Loaded { process, stack, vdso, program, placed, entry } =
        load(&bundle, memory).unwrap_or_else(|why| refuse(&why));
    // SAFETY: nothing serves a call yet.
    unsafe { *RUNNING.0.get() = Some(process) };
    fault::on();
    interrupt::on(machine::note);
    let mut settings = bundle.settings;
    for variable in ENVIRONMENT {
        // They are variables.
        let _ = settings.set_default(variable);
    }
    report::set_wanted(settings.environment.iter().any(|variable| variable == report::WANTED));
    let job = if settings.ready { Vec::new() } else { running().space.pages().ready() };
    let own = [&settings.program].into_iter().chain(&settings.arguments);
    let arguments: Vec<&[u8]> = own.chain(&job).map(|argument| argument.as_bytes()).collect();
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    let environment: Vec<&[u8]> = settings.environment.iter().map(|variable| variable.as_bytes()).collect();
    let start = Start {
        arguments: &arguments,
        environment: &environment,
        path: settings.program.as_bytes(),
        entry: placed.program.address(program.entry),
        headers: program.headers.map_or(0, |headers| placed.program.address(headers)),
        header_count: program.header_count,
        loader: placed.loader.map_or(0, |layout| layout.address(0)),
        user: (USER, USER),
        vdso: Some(vdso),
        hwcap: __cpuid(1).edx.into(),
        hwcap2: 2,
        random: bytes,
        signal_stack_bytes: 4096,
    };
    let image = start
        .image(stack, START_BYTES)
        .unwrap_or_else(|_| refuse(&format!("arguments and environment take more than {} KiB", START_BYTES >> 10)));
    running().identity.set(start.arguments, start.environment, image.auxiliary);
    // SAFETY: the stack is the program's, and nothing runs on it yet.
    unsafe { core::ptr::copy_nonoverlapping(image.bytes.as_ptr(), image.pointer as *mut u8, image.bytes.len()) };
    // SAFETY: the program was loaded, and this is its stack.
    unsafe { entry::start(entry, image.pointer) }
}

/// The program. One call is served at a time.
fn running() -> &'static mut Process<Vm> {
    // SAFETY: the entries below are not used again before they are left, and nothing else asks.
    let running = unsafe { &mut *RUNNING.0.get() };
    running.as_mut().unwrap_or_else(|| refuse("a system call came from nowhere"))
}

/// Serves a system call. Called by the assembly of `entry`, as the next two: what they answer is whether the frame is to be
/// restored whole.
pub extern "C" fn serve(frame: &mut Frame) -> u32 {
    let process = running();
    let next = process.call(frame);
    if next == Next::Return { 0 } else { finish(process, frame, next) }
}

/// Lets others run, or signals be handled: an interrupt found the program at work.
pub extern "C" fn interrupted(frame: &mut Frame) -> u32 {
    let process = running();
    let next = process.interrupted(frame);
    finish(process, frame, next)
}

/// Makes a fault a signal.
pub extern "C" fn faulted(frame: &mut Frame) -> u32 {
    let process = running();
    let fault = fault::noted(&process.space, frame.rip);
    let next = process.fault(frame, fault);
    finish(process, frame, next)
}

#[cold]
fn finish(process: &mut Process<Vm>, frame: &mut Frame, next: Next) -> u32 {
    match next {
        Next::Return | Next::Restore => {
            // SAFETY: reads two registers.
            unsafe { asm!("mov {:e}, cs", out(reg) frame.cs, options(nomem, nostack, preserves_flags)) };
            // SAFETY: the same.
            unsafe { asm!("mov {:e}, ss", out(reg) frame.ss, options(nomem, nostack, preserves_flags)) };
            1
        }
        Next::Exit(status) => {
            process.bring_all_back();
            report::ended(process, status);
            world::send_results(&process.files);
            exit(status)
        }
        Next::Killed(signal) => {
            process.bring_all_back();
            report::killed(process, frame, signal);
            world::send_results(&process.files);
            exit(128 + signal.number())
        }
    }
}

//! The program: loaded, started, served, and ended.

use crate::{entry, machine::Vm, settings::Bundle};
use alloc::{borrow::ToOwned, format, string::String, sync::Arc, vec::Vec};
use core::{cell::UnsafeCell, ops::Range};
use denali_abi::memory::PAGE_BYTES;
use denali_guest::{Job, clock, eprintln, exit, fault, instruction, random, vreg};
use denali_linux::{
    call::{Frame, Next, Process, STACK_BYTES},
    elf::{self, Layout, PROGRAM_BASE, Placed, Program, Start},
    mm::{Areas, Backing, Rights, Space},
    rewrite::Functions,
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
    let Loaded { process, stack, program, placed, entry } = load(&bundle, memory).unwrap_or_else(|why| refuse(&why));
    // SAFETY: nothing serves a call yet.
    unsafe { *RUNNING.0.get() = Some(process) };
    // SAFETY: the handler serves system calls of the program, which runs none of this library's code then, and reports
    // all else.
    unsafe { fault::on(faulted) };
    if vreg::read().checkpoint_wanted != 0 {
        instruction::checkpoint();
    }
    let job = Job::receive();
    let mut settings = bundle.settings;
    for variable in ENVIRONMENT {
        // They are variables.
        let _ = settings.set_default(variable);
    }
    let mut arguments: Vec<&[u8]> = alloc::vec![settings.program.as_bytes()];
    arguments.extend(job.arguments().iter().map(|argument| argument.as_bytes()));
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
        user: (1000, 1000),
        hwcap2: 2,
        random: bytes,
        signal_stack_bytes: 4096,
        ..Start::default()
    };
    let image = start.image(stack, START_BYTES).unwrap_or_else(|_| refuse("the arguments are too long"));
    // SAFETY: the stack is the program's, and nothing runs on it yet.
    unsafe { core::ptr::copy_nonoverlapping(image.bytes.as_ptr(), image.pointer as *mut u8, image.bytes.len()) };
    // SAFETY: the program was loaded, and this is its stack.
    unsafe { entry::start(entry, image.pointer) }
}

/// A program in its address space.
struct Loaded {
    process: Process<Vm>,
    /// Where its stack ends.
    stack: u64,
    program: Program<'static>,
    placed: Placed,
    /// Its first instruction: the dynamic loader's, if it has one.
    entry: u64,
}

fn load(bundle: &Bundle, memory: Range<u64>) -> Result<Loaded, String> {
    let (path, file, program) = parsed(bundle, &bundle.settings.program)?;
    let interpreter = program.interpreter.map(str::from_utf8).transpose();
    let interpreter = interpreter.map_err(|_| format!("{path}: the path of its dynamic loader is not UTF-8"))?;
    let loader = interpreter.map(|path| parsed(bundle, path)).transpose()?;
    let down = |address: u64| address / PAGE_BYTES * PAGE_BYTES;
    let areas = Areas {
        program: PROGRAM_BASE..down(vreg::read().modules),
        arena: down(memory.start + PAGE_BYTES - 1)..down(memory.end),
        reserve: 1 << 40..2 << 40,
    };
    let placed = Placed::new(&program, loader.as_ref().map(|(_, _, loader)| loader), &areas.program);
    let placed = placed.map_err(|error| format!("{path}: {error}"))?;
    let top = areas.arena.end;
    let mut space = Space::new(areas, Vm::default()).map_err(|_| "the VM has too little memory".to_owned())?;
    let mut entry = placed.program.address(program.entry);
    map(&mut space, path, file, &program, placed.program)?;
    if let (Some((path, file, loader)), Some(layout)) = (&loader, placed.loader) {
        map(&mut space, path, file, loader, layout)?;
        entry = layout.address(loader.entry);
    }
    // What is mapped later is another file.
    space.pages().functions = Functions::unknown();
    let stack = space.load(&(top - STACK_BYTES..top), Rights::Write, Backing::Stack, (top - STACK_BYTES, &[]));
    stack.map_err(|_| "no memory for the stack; give the VM more".to_owned())?;
    let process = Process::new(space, path.as_bytes().to_vec());
    Ok(Loaded { process, stack: top, program, placed, entry })
}

/// The file at `path`, and what it asks for.
fn parsed<'a>(bundle: &Bundle, path: &'a str) -> Result<(&'a str, &'static [u8], Program<'static>), String> {
    let file = bundle.file(path).ok_or_else(|| format!("{path} is not in the bundle; pack the program again"))?;
    let program = elf::parse(file).map_err(|error| format!("{path}: {error}"))?;
    Ok((path, file, program))
}

fn map(space: &mut Space<Vm>, path: &str, file: &[u8], program: &Program<'_>, layout: Layout) -> Result<(), String> {
    space.pages().functions = elf::functions(file, layout.bias);
    program.load(space, layout, &Arc::from(path)).map_err(|_| format!("{path}: no memory for it; give the VM more"))
}

/// Serves a system call. Called by the assembly of `entry`.
pub extern "C" fn serve(frame: &mut Frame) {
    // SAFETY: one call is served at a time.
    let running = unsafe { &mut *RUNNING.0.get() };
    let Some(process) = running else { refuse("a system call came from nowhere") };
    match process.call(frame) {
        Next::Return(value) => frame.rax = value,
        Next::Exit(status) => end(process, status),
    }
}

fn end(process: &Process<Vm>, status: u8) -> ! {
    if status != 0 {
        for (number, count) in &process.unserved {
            eprintln!("denali: system call {number} is not served; it was made {count} times");
        }
    }
    exit(status)
}

/// A fault of the program; a system call that was not rewritten.
fn faulted(context: &mut fault::FaultContext) -> fault::Resume {
    if context.rip < PROGRAM_BASE {
        return fault::Resume::End;
    }
    if context.vector == fault::SYSTEM_CALL {
        let mut frame = Frame {
            rax: context.rax,
            rdi: context.rdi,
            rsi: context.rsi,
            rdx: context.rdx,
            r10: context.r10,
            r8: context.r8,
            r9: context.r9,
            ..Frame::default()
        };
        serve(&mut frame);
        context.rax = frame.rax;
        return fault::Resume::Continue;
    }
    let (signal, name) = match context.vector {
        0 | 16 | 19 => (8, "SIGFPE"),
        6 => (4, "SIGILL"),
        3 => (5, "SIGTRAP"),
        17 => (7, "SIGBUS"),
        _ => (11, "SIGSEGV"),
    };
    let at = clock::now().as_micros();
    eprintln!("denali: {name} at instruction {:#x}, address {:#x}, after {at} us", context.rip, context.address);
    exit(128 + signal)
}

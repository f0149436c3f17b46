//! The program: loaded, started, served, and ended.

use crate::{
    entry,
    machine::{self, Vm},
    report,
    settings::Bundle,
    vdso, world,
};
use alloc::{borrow::ToOwned, boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::{
    arch::asm,
    cell::UnsafeCell,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};
use denali_abi::memory::{IMAGE_BASE, PAGE_BYTES, WINDOW_END, WINDOW_START};
use denali_guest::{eprintln, exit, fault, interrupt, random, vreg};
use denali_linux::{
    call::{Frame, Machine, Next, Process, USER, stack_bytes},
    elf::{self, Layout, PROGRAM_BASE, Placed, Program, Start},
    fs::{self, Fs},
    mm::{Areas, Backing, Rights, Space},
    rewrite::Functions,
    signal::Fault,
};

/// What could not even be started ends as in a shell.
const STATUS_UNSTARTABLE: u8 = 126;

/// The part of the VM's memory that files which the program writes may take: half of what the library OS keeps for itself.
const FILES_PART: usize = 16;

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
    // SAFETY: the handler serves system calls of the program, which runs none of this library's code then, and reports
    // all else.
    unsafe { fault::on(fault) };
    // SAFETY: the entry saves all registers, and has a stack of its own.
    unsafe { interrupt::redirect(redirect) };
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
        hwcap2: 2,
        random: bytes,
        signal_stack_bytes: 4096,
        ..Start::default()
    };
    let image = start.image(stack, START_BYTES).unwrap_or_else(|_| refuse("the arguments are too long"));
    running().identity.set(start.arguments, start.environment, image.auxiliary);
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
    /// Where the vDSO lies: below the stack.
    vdso: u64,
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
    // What finds no room in the arena goes to the reserve, so half for each keeps nothing from a program.
    let pool = down(memory.start.midpoint(memory.end))..down(memory.end);
    let areas = Areas {
        program: PROGRAM_BASE..down(vreg::read().modules),
        arena: down(memory.start + PAGE_BYTES - 1)..pool.start,
        reserve: WINDOW_START..WINDOW_END,
    };
    let placed = Placed::new(&program, loader.as_ref().map(|(_, _, loader)| loader), &areas.program);
    let placed = placed.map_err(|error| format!("{path}: {error}"))?;
    let top = areas.arena.end;
    let bottom = top - stack_bytes(top - areas.arena.start);
    let mut space = Space::new(areas, Vm::new(&pool)).map_err(|_| "the VM has too little memory".to_owned())?;
    let mut entry = placed.program.address(program.entry);
    (space.pages().file, space.pages().bias) = (file, placed.program.bias);
    map(&mut space, path, file, &program, placed.program)?;
    if let (Some((path, file, loader)), Some(layout)) = (&loader, placed.loader) {
        map(&mut space, path, file, loader, layout)?;
        entry = layout.address(loader.entry);
    }
    // What is mapped later is another file.
    space.pages().expect_code(Functions::unknown());
    let stack = space.load(&(bottom..top), Rights::Write, Backing::Stack, (bottom, &[]));
    stack.map_err(|_| "no memory for the stack; give the VM more".to_owned())?;
    let page = vdso::page();
    // A page lies between, which nobody has.
    let vdso = bottom - 2 * PAGE_BYTES;
    let backing = Backing::File { name: Arc::from("[vdso]"), bias: vdso.wrapping_neg() };
    let loaded = space.load(&(vdso..vdso + page.len() as u64), Rights::Execute, backing, (vdso, &page));
    loaded.map_err(|_| "no memory for the vDSO; give the VM more".to_owned())?;
    let setup = fs::Setup {
        files: &bundle.files,
        tree: &bundle.tree,
        program: path.as_bytes(),
        pid: 1,
        memory: (vreg::read().memory_bytes - vreg::read().heap_start) as usize / FILES_PART,
    };
    let mut files = Fs::new(&setup, Box::new(world::Vm)).map_err(|error| format!("the bundle's files: {error}"))?;
    let directory = &bundle.settings.directory;
    files.chdir(directory.as_bytes()).map_err(|error| format!("the working directory {directory}: {error}"))?;
    let process = Process::new(space, files, path.as_bytes().to_vec());
    Ok(Loaded { process, stack: top, vdso, program, placed, entry })
}

/// The file at `path`, and what it asks for.
fn parsed<'a>(bundle: &Bundle, path: &'a str) -> Result<(&'a str, &'static [u8], Program<'static>), String> {
    let file = bundle.file(path).ok_or_else(|| format!("{path} is not in the bundle; pack the program again"))?;
    let program = elf::parse(file).map_err(|error| format!("{path}: {error}"))?;
    Ok((path, file, program))
}

fn map(space: &mut Space<Vm>, path: &str, file: &[u8], program: &Program<'_>, layout: Layout) -> Result<(), String> {
    space.pages().expect_code(elf::functions(file, layout.bias));
    program.load(space, layout, &Arc::from(path)).map_err(|_| format!("{path}: no memory for it; give the VM more"))
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
    let [vector, error_code, address] = FAULT.each_ref().map(|word| word.load(Ordering::Relaxed));
    let mapped = process.space.is_mapped(address, 1);
    let floating = match vector {
        16 => x87_exceptions(),
        19 => mxcsr(),
        _ => 0,
    };
    let fault = Fault { vector, error_code, address, rip: frame.rip, mapped, floating };
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

/// MXCSR, whose flags say what happened.
fn mxcsr() -> u32 {
    let mut word = 0_u32;
    // SAFETY: writes the register's value to `word`.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
    word
}

/// The x87 exceptions that happened and are not masked.
fn x87_exceptions() -> u32 {
    let (mut status, mut control) = (0_u16, 0_u16);
    // SAFETY: writes a register's value to `status`.
    unsafe { asm!("fnstsw [{}]", in(reg) &mut status, options(nostack, preserves_flags)) };
    // SAFETY: the same.
    unsafe { asm!("fnstcw [{}]", in(reg) &mut control, options(nostack, preserves_flags)) };
    u32::from(status & !control)
}

/// Vector, error code and address of the fault that is about to become a signal.
static FAULT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Whether this is an address of the library OS. Where nothing is, a program may have jumped to.
fn is_library(rip: u64) -> bool {
    (IMAGE_BASE..PROGRAM_BASE).contains(&rip)
}

/// An interrupt: a program goes on in [`interrupted`]; the library OS where it was, and looks later.
fn redirect(rip: u64) -> u64 {
    if is_library(rip) {
        machine::remind();
        rip
    } else {
        entry::interrupt(rip)
    }
}

/// A fault of the program, or a system call that was not rewritten.
fn fault(context: &mut fault::FaultContext) -> fault::Resume {
    if is_library(context.rip) && !machine::is_stub(context.rip) {
        return fault::Resume::End;
    }
    if context.vector == fault::SYSTEM_CALL {
        TRAPS.note(context.rip);
        // RCX holds its return address, as after the stub's.
        context.rip = entry::address_of_calls();
        return fault::Resume::Continue;
    }
    for (word, value) in FAULT.iter().zip([context.vector, context.error_code, context.address]) {
        word.store(value, Ordering::Relaxed);
    }
    context.rip = entry::fault(context.rip);
    fault::Resume::Continue
}

/// System calls that came as faults.
pub static TRAPS: Traps = Traps { count: AtomicU64::new(0), last: AtomicU64::new(0) };

/// How many system calls came as faults, and the address behind the last.
pub struct Traps {
    pub count: AtomicU64,
    pub last: AtomicU64,
}

impl Traps {
    fn note(&self, rip: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.last.store(rip, Ordering::Relaxed);
    }
}

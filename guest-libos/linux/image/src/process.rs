//! The program: loaded, started, served, and ended.

use crate::{entry, machine::Vm};
use alloc::{borrow::ToOwned, format, string::String, sync::Arc, vec::Vec};
use core::{cell::UnsafeCell, ops::Range};
use denali_abi::memory::{PAGE_BYTES, WINDOW_END, WINDOW_START};
use denali_guest::{Job, clock, eprintln, exit, fault, instruction, random, vreg};
use denali_linux::{
    call::{Frame, Next, Process, STACK_BYTES},
    elf::{self, Layout, Start},
    mm::{Areas, Backing, Rights, Space},
};

/// The name of the bundle's file that says which of the others is the program.
const SETTINGS: &str = ".linux";

/// Programs of fixed addresses begin here.
const PROGRAM_BASE: u64 = 0x40_0000;

/// What could not even be started ends as in a shell.
const STATUS_UNSTARTABLE: u8 = 126;

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
    let name = program_name().unwrap_or_else(|| refuse("the bundle does not say which of its files is the program"));
    let file = Job::bundle_file(name).unwrap_or_else(|| refuse(&format!("the program {name} is not in the bundle")));
    let (process, program, layout) = load(name, file, memory).unwrap_or_else(|why| refuse(&why));
    let stack = process.1;
    // SAFETY: nothing serves a call yet.
    unsafe { *RUNNING.0.get() = Some(process.0) };
    // SAFETY: the handler serves system calls of the program, which runs none of this library's code then, and reports
    // all else.
    unsafe { fault::on(faulted) };
    if vreg::read().checkpoint_wanted != 0 {
        instruction::checkpoint();
    }
    let job = Job::receive();
    let mut arguments: Vec<&[u8]> = alloc::vec![name.as_bytes()];
    arguments.extend(job.arguments().iter().map(|argument| argument.as_bytes()));
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    let path = format!("/{name}");
    let start = Start {
        arguments: &arguments,
        environment: &[b"PATH=/bin:/usr/bin", b"HOME=/tmp", b"LANG=C.UTF-8"],
        path: path.as_bytes(),
        entry: layout.address(program.entry),
        headers: program.headers.map_or(0, |headers| layout.address(headers)),
        header_count: program.header_count,
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
    unsafe { entry::start(start.entry, image.pointer) }
}

fn program_name() -> Option<&'static str> {
    let settings = str::from_utf8(Job::bundle_file(SETTINGS)?).ok()?;
    settings.lines().find_map(|line| line.strip_prefix("program="))
}

type Loaded<'a> = ((Process<Vm>, u64), elf::Program<'a>, Layout);

fn load<'a>(name: &str, file: &'a [u8], memory: Range<u64>) -> Result<Loaded<'a>, String> {
    let program = elf::parse(file).map_err(|error| format!("{name}: {error}"))?;
    if program.interpreter.is_some() {
        return Err(format!("{name} needs a dynamic loader; link it with -static"));
    }
    let down = |address: u64| address / PAGE_BYTES * PAGE_BYTES;
    // What finds no room in the arena goes to the reserve, so half for each keeps nothing from a program.
    let pool = down(memory.start.midpoint(memory.end))..down(memory.end);
    let areas = Areas {
        program: PROGRAM_BASE..down(vreg::read().modules),
        arena: down(memory.start + PAGE_BYTES - 1)..pool.start,
        reserve: WINDOW_START..WINDOW_END,
    };
    let layout = Layout::new(&program, &areas.program).map_err(|error| format!("{name}: {error}"))?;
    let top = areas.arena.end;
    let vm = Vm::new(elf::functions(file, layout.bias), &pool);
    let mut space = Space::new(areas, vm).map_err(|_| "the VM has too little memory".to_owned())?;
    let full = |_| format!("{name}: no memory for it; give the VM more");
    for segment in &program.segments {
        let backing =
            Backing::File { name: Arc::from(name), bias: segment.offset.wrapping_sub(layout.address(segment.start)) };
        let at = (layout.address(segment.start), segment.data);
        space.load(&layout.pages(segment), segment.rights, backing, at).map_err(full)?;
    }
    space.load(&(top - STACK_BYTES..top), Rights::Write, Backing::Stack, (top - STACK_BYTES, &[])).map_err(full)?;
    Ok(((Process::new(space, format!("/{name}").into_bytes()), top), program, layout))
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

//! From a bundle to a process: the program, its dynamic loader, the vDSO and the stack, each in its place.

use crate::{bundle::Bundle, machine::Vm, vdso, world::Streams};
use alloc::{borrow::ToOwned, boxed::Box, format, string::String, sync::Arc};
use core::ops::Range;
use denali_abi::memory::{PAGE_BYTES, WINDOW_END, WINDOW_START};
use denali_guest::vreg;
use denali_linux::{
    call::{Machine, Process, stack_bytes},
    elf::{self, Layout, PROGRAM_BASE, Placed, Program},
    fs::{self, Fs},
    mm::{Areas, Backing, Rights, Space},
    rewrite::Functions,
};

/// The part of the VM's memory that files which the program writes may take: half of what the library OS keeps for itself.
const FILES_PART: usize = 16;

/// What a thread that does not run takes at most of the other half: its registers, and where it is queued.
const THREAD_BYTES: usize = 4 << 10;

/// A program in its address space.
pub struct Loaded {
    /// It, with nothing served.
    pub process: Process<Vm>,
    /// Where its stack ends.
    pub stack: u64,
    /// Where the vDSO lies: below the stack.
    pub vdso: u64,
    /// What its file asks for.
    pub program: Program<'static>,
    /// Where it and its dynamic loader lie.
    pub placed: Placed,
    /// Its first instruction: the dynamic loader's, if it has one.
    pub entry: u64,
}

/// Loads the bundle's program into `memory`, the VM's that nobody uses. An error is for whoever packed it.
pub fn load(bundle: &Bundle, memory: Range<u64>) -> Result<Loaded, String> {
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
    let mut space = Space::new(areas, Vm::new(&pool))
        .map_err(|_| "the VM has too little memory; give it more with --memory".to_owned())?;
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
    stack.map_err(|_| "no memory for the stack; give the VM more with --memory".to_owned())?;
    let page = vdso::page();
    // A page lies between, which nobody has.
    let vdso = bottom - 2 * PAGE_BYTES;
    let backing = Backing::File { name: Arc::from("[vdso]"), bias: vdso.wrapping_neg() };
    let loaded = space.load(&(vdso..vdso + page.len() as u64), Rights::Execute, backing, (vdso, &page));
    loaded.map_err(|_| "no memory for the vDSO; give the VM more with --memory".to_owned())?;
    let own = (vreg::read().memory_bytes - vreg::read().heap_start) as usize / FILES_PART;
    let setup = fs::Setup { files: &bundle.files, tree: &bundle.tree, program: path.as_bytes(), pid: 1, memory: own };
    let mut files = Fs::new(&setup, Box::new(Streams)).map_err(|error| format!("the bundle's files: {error}"))?;
    let directory = &bundle.settings.directory;
    files.chdir(directory.as_bytes()).map_err(|error| format!("the working directory {directory}: {error}"))?;
    let mut process = Process::new(space, files, path.as_bytes().to_vec());
    process.limit_threads(own / THREAD_BYTES);
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
    program
        .load(space, layout, &Arc::from(path))
        .map_err(|_| format!("{path}: no memory for it; give the VM more with --memory"))
}

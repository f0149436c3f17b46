//! A prepared image: what every VM of a bundle starts from, laid out once into a sealed memory file that all of them map
//! copy-on-write.
//!
//! The file holds guest memory from [`IMAGE_BASE`] to the end of the modules, then the supervisor slot. Only what the bundle
//! fills is mapped from it: a page of zeros would be allocated twice when a VM touches it, in the file and for the VM.

use super::{
    elf::{self, ElfError, Program},
    layout::Tables,
    paging::{self, Rights},
    stubs,
};
use denali_abi::memory::{
    CONTROL, IMAGE_BASE, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, Module, PAGE_BYTES, REGISTERS, STACK_BOTTOM, STACK_TOP,
};
use denali_protocol::bundle::{Content, CpuModel};
use rustix::fs::{MemfdFlags, SealFlags};
use std::{fs::File, ops::Range, os::unix::fs::FileExt, sync::Arc};

/// Pages of a VM that come from a file, copy-on-write.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Where they lie, as offsets: guest addresses, or offsets into the supervisor slot.
    pub(crate) pages: Range<u64>,
    /// A sealed memory file.
    pub(crate) file: Arc<File>,
    /// Where they start in it.
    pub(crate) offset: u64,
}

/// What every VM of a bundle starts from.
#[derive(Clone, Debug)]
pub struct Image {
    /// The CPU that the program asks for.
    pub(crate) cpu: CpuModel,
    /// Memory of a VM, in bytes.
    pub(crate) memory_bytes: u64,
    /// Address of the first instruction.
    pub(crate) entry: u64,
    /// The parts of guest memory that are not zero at the start, ascending and apart.
    pub(crate) ram: Vec<Part>,
    /// The same of the supervisor slot.
    pub(crate) supervisor: Vec<Part>,
    /// End of image and modules: the rings and the heap follow.
    pub(crate) end: u64,
    /// Address of the module table.
    pub(crate) modules: u64,
    /// Number of modules.
    pub(crate) module_count: u64,
}

/// Why no image could be prepared from a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The program can't run in a Denali VM. The bundle is at fault.
    #[error("bad program: {0}")]
    Elf(#[from] ElfError),
    /// Program, files and rings leave no memory. The bundle is at fault.
    #[error(
        "program and files take {taken} of {memory_bytes} bytes of memory, and {needed} more are needed for rings and \
         heap; ask for more memory"
    )]
    Memory {
        /// Bytes up to the end of the modules.
        taken: u64,
        /// Bytes needed after that.
        needed: u64,
        /// Memory of the VM.
        memory_bytes: u64,
    },
    /// No VM has so much memory.
    #[error(
        "a VM can't have {memory_bytes} bytes of memory: {MEMORY_BYTES_MIN} to {MEMORY_BYTES_MAX} in pages of {PAGE_BYTES}"
    )]
    MemorySize {
        /// Bytes asked for.
        memory_bytes: u64,
    },
    /// The host has no room for the image.
    #[error("the host could not hold the image: {0}")]
    Host(#[from] std::io::Error),
}

/// Memory that must be left after the modules, for the smallest rings and a little heap.
const ROOM_BYTES: u64 = 1 << 20;

impl Image {
    /// Prepares the image of `content` for VMs with `memory_bytes`.
    ///
    /// # Errors
    /// [`ImageError`], by fault of the bundle or of the host.
    pub fn prepare(content: &Content<'_>, memory_bytes: u64) -> Result<Self, ImageError> {
        if !(MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&memory_bytes) || !memory_bytes.is_multiple_of(PAGE_BYTES) {
            return Err(ImageError::MemorySize { memory_bytes });
        }
        let program = elf::parse(content.program(), memory_bytes)?;
        let modules = Modules::lay_out(content, program.end).filter(|m| m.end + ROOM_BYTES <= memory_bytes);
        let modules = modules.ok_or(ImageError::Memory { taken: program.end, needed: ROOM_BYTES, memory_bytes })?;

        let file = memory_file()?;
        let tables = Tables::of(memory_bytes);
        file.set_len(modules.end - IMAGE_BASE + tables.filled_bytes())?;
        for segment in &program.segments {
            file.write_all_at(segment.data, segment.start - IMAGE_BASE)?;
        }
        modules.write(&file)?;
        let mut slot = vec![0; tables.filled_bytes() as usize];
        stubs::write(&mut slot);
        paging::write(&mut slot, memory_bytes, &ranges(&program, modules.end, memory_bytes));
        file.write_all_at(&slot, modules.end - IMAGE_BASE)?;
        let file = seal(file)?;
        let part = |pages: Range<u64>, offset| Part { pages, file: Arc::clone(&file), offset };
        let filled = filled(&program, modules.end).into_iter();
        Ok(Self {
            cpu: content.manifest().cpu,
            memory_bytes,
            entry: program.entry,
            ram: filled.map(|pages| part(pages.clone(), pages.start - IMAGE_BASE)).collect(),
            supervisor: vec![part(0..tables.filled_bytes(), modules.end - IMAGE_BASE)],
            end: modules.end,
            modules: modules.table,
            module_count: modules.entries.len() as u64,
        })
    }

    /// Bytes that it holds in memory as long as it is kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.ram.iter().chain(&self.supervisor).map(|part| part.pages.end - part.pages.start).sum()
    }
}

/// Bytes of the largest file that holds an image, or a copy taken later, of a VM with so much memory: all of it, and its tables.
#[must_use]
pub fn file_bytes_max(memory_bytes: u64) -> u64 {
    memory_bytes + Tables::of(memory_bytes).bytes()
}

/// An empty memory file, to be filled and sealed.
pub(crate) fn memory_file() -> std::io::Result<File> {
    let file = rustix::fs::memfd_create("denali-image", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    Ok(File::from(file))
}

/// Makes a memory file one that never changes.
pub(crate) fn seal(file: File) -> std::io::Result<Arc<File>> {
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(Arc::new(file))
}

fn filled(program: &Program<'_>, modules_end: u64) -> Vec<Range<u64>> {
    let pages = program.segments.iter().map(|segment| {
        let data_end = segment.start + segment.data.len() as u64;
        segment.pages.start..data_end.next_multiple_of(PAGE_BYTES).max(segment.pages.start)
    });
    let mut filled: Vec<Range<u64>> = Vec::new();
    for range in pages.chain(std::iter::once(program.end..modules_end)).filter(|range| !range.is_empty()) {
        match filled.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => filled.push(range),
        }
    }
    filled
}

fn ranges(program: &Program<'_>, modules_end: u64, memory_bytes: u64) -> Vec<(u64, u64, Rights)> {
    let mut ranges = vec![
        (REGISTERS, REGISTERS + PAGE_BYTES, Rights::Read),
        (CONTROL, CONTROL + PAGE_BYTES, Rights::Write),
        (STACK_BOTTOM, STACK_TOP, Rights::Write),
        (program.end, modules_end, Rights::Read),
        (modules_end, memory_bytes, Rights::Write),
    ];
    ranges.extend(program.segments.iter().map(|s| (s.pages.start, s.pages.end, s.rights)));
    ranges
}

/// The bundle's files in guest memory: table, names, then each file's contents on pages of its own.
struct Modules<'a> {
    table: u64,
    entries: Vec<(Module, &'a str, &'a [u8])>,
    end: u64,
}

impl<'a> Modules<'a> {
    /// Places all from `start`, a page boundary. `None` when addresses overflow.
    fn lay_out(content: &'a Content<'a>, start: u64) -> Option<Self> {
        let files: Vec<(&str, &[u8])> = content.files().collect();
        let mut name = start.checked_add((files.len() * size_of::<Module>()) as u64)?;
        let names_bytes: u64 = files.iter().map(|(name, _)| name.len() as u64).sum();
        let mut data = name.checked_add(names_bytes)?.checked_next_multiple_of(PAGE_BYTES)?;
        let mut entries = Vec::with_capacity(files.len());
        for (file, bytes) in files {
            let module = Module { name, name_bytes: file.len() as u64, data, data_bytes: bytes.len() as u64 };
            name += module.name_bytes;
            data = data.checked_add(module.data_bytes)?.checked_next_multiple_of(PAGE_BYTES)?;
            entries.push((module, file, bytes));
        }
        Some(Self { table: start, entries, end: data })
    }

    fn write(&self, file: &File) -> std::io::Result<()> {
        for (n, (module, name, data)) in self.entries.iter().enumerate() {
            let words = [module.name, module.name_bytes, module.data, module.data_bytes];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            file.write_all_at(&bytes, self.table - IMAGE_BASE + (n * size_of::<Module>()) as u64)?;
            file.write_all_at(name.as_bytes(), module.name - IMAGE_BASE)?;
            file.write_all_at(data, module.data - IMAGE_BASE)?;
        }
        Ok(())
    }
}

const _: () = assert!(IMAGE_BASE + ROOM_BYTES < MEMORY_BYTES_MIN);

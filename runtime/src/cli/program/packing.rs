//! From a file to a bundle: what it is, by what it says of itself, and what it is packed with.

use super::needs::{DEFAULT_CPU_TIME, DEFAULT_MEMORY_BYTES, DEFAULT_WALL_TIME, Extras, LINUX_MEMORY_BYTES, Needs};
use crate::cli::{failure::fail, linux, units};
use denali_protocol::bundle::{self, Bundle, PackRequest};
use std::path::Path;

pub(super) const ELF_MAGIC: &[u8] = b"\x7fELF";
pub(super) const SCRIPT_MAGIC: &[u8] = b"#!";
const BUNDLE_MAGIC: &[u8] = b"DENALIB";
/// Offset and value of `EI_CLASS` in an ELF header (System V gABI): 32 bits.
const ELF_CLASS_32: (usize, u8) = (4, 1);
/// Offset and value of `e_machine` in an ELF header: x86-64.
const ELF_MACHINE: (usize, [u8; 2]) = (18, [62, 0]);

/// Packs the program that `file` has, which was read from `path`, or packs a bundle again with what is new. Its name is
/// that of the file, or the bundle's, if there is no other.
pub(crate) fn pack(
    file: &[u8],
    path: &Path,
    name: Option<&str>,
    needs: &Needs,
    extras: &Extras,
) -> anyhow::Result<Vec<u8>> {
    if file.starts_with(BUNDLE_MAGIC) && !(extras.is_empty() && needs.is_empty() && name.is_none()) {
        return repack(file, name, needs, extras);
    }
    check_elf(file)?;
    let own_name = name_of(path);
    let name = name.unwrap_or(&own_name);
    if !linux::is_for_linux(file) {
        if !extras.around.is_empty() {
            let hint = "this one was built for the Denali VM, and takes arguments and --files";
            return fail("--root, --env and --workdir are for programs for Linux", hint);
        }
        return pack_elf(file, name, needs, &extras.read()?);
    }
    let (image, files) = linux::pack(file, path, &extras.around, extras.read()?)?;
    let bytes = image.len() as u64 + files.iter().map(|(_, file)| file.len() as u64).sum::<u64>();
    let room = linux::room(&image) + bytes;
    let memory = LINUX_MEMORY_BYTES.max(DEFAULT_MEMORY_BYTES + room.next_multiple_of(1 << 20));
    pack_elf(&image, name, &Needs { memory: needs.memory.or(Some(memory)), ..needs.clone() }, &files)
}

/// Packs the bundle that `file` is again, with what is new.
fn repack(file: &[u8], name: Option<&str>, needs: &Needs, extras: &Extras) -> anyhow::Result<Vec<u8>> {
    let bundle = Bundle::parse(file)?;
    let (content, old) = (bundle.content(), bundle.content().manifest());
    let more = extras.read()?;
    let grown: u64 = more.iter().map(|(_, file)| file.len() as u64).sum();
    let files = linux::repack(content, &extras.around, more)?;
    // As much more as there is in more files; but no more than if it were packed for the first time.
    let bytes = content.program().len() as u64 + files.iter().map(|(_, file)| file.len() as u64).sum::<u64>();
    let first = DEFAULT_MEMORY_BYTES + (linux::room(content.program()) + bytes).next_multiple_of(1 << 20);
    let memory = (old.memory_bytes + grown.next_multiple_of(1 << 20)).min(first.max(old.memory_bytes));
    let request = PackRequest {
        name: name.unwrap_or(&old.name),
        cpu: needs.cpu.unwrap_or(old.cpu),
        memory_bytes: needs.memory.unwrap_or(memory),
        cpu_time_us: needs.cpu_time.map_or(old.cpu_time_us, units::micros),
        wall_time_us: needs.wall_time.map_or(old.wall_time_us, units::micros),
        program: content.program(),
        files: &files,
    };
    Ok(bundle::pack(&request)?)
}

/// Refuses what is no ELF program for x86-64.
fn check_elf(file: &[u8]) -> anyhow::Result<()> {
    if file.starts_with(SCRIPT_MAGIC) {
        let line = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(&line[SCRIPT_MAGIC.len()..]).trim().to_owned();
        return fail(
            format!("a script for {interpreter:?}, not a program"),
            "give the interpreter as the program, the script by --files, and its name as the first argument",
        );
    }
    if !file.starts_with(ELF_MAGIC) {
        let hint = if file.starts_with(BUNDLE_MAGIC) {
            "this is a bundle already: run, sign or submit it as it is, or pack it again with more --files or other settings"
        } else {
            "give a program for x86-64 Linux, or one that was built for the Denali VM; `denali samples DIR` writes some"
        };
        return fail("not an ELF program", hint);
    }
    let (offset, class) = ELF_CLASS_32;
    if file.get(offset) == Some(&class) {
        return fail("a 32-bit program", "build it for x86-64, without -m32 and -mx32");
    }
    let (offset, machine) = ELF_MACHINE;
    if file.get(offset..offset + 2) != Some(machine.as_slice()) {
        return fail("an ELF program for another CPU", "build it for x86-64");
    }
    Ok(())
}

/// Packs an ELF image for the Denali VM with files.
pub(crate) fn pack_elf(
    program: &[u8],
    name: &str,
    needs: &Needs,
    files: &[(String, Vec<u8>)],
) -> anyhow::Result<Vec<u8>> {
    let request = PackRequest {
        name,
        cpu: needs.cpu.unwrap_or_default(),
        memory_bytes: needs.memory.unwrap_or(DEFAULT_MEMORY_BYTES),
        cpu_time_us: units::micros(needs.cpu_time.unwrap_or(DEFAULT_CPU_TIME)),
        wall_time_us: units::micros(needs.wall_time.unwrap_or(DEFAULT_WALL_TIME)),
        program,
        files,
    };
    Ok(bundle::pack(&request)?)
}

/// The name that a bundle gets from the program's file.
fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(|| "program".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

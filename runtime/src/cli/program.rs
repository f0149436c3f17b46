//! The program that a command is given: a bundle, an ELF image for the Denali VM, or a program for Linux; the latter two
//! are packed in memory. Told apart by what the file says of itself.

use super::{
    failure::{Hint, fail},
    linux::{self, Surroundings},
    tree, units,
};
use anyhow::Context;
use denali_protocol::{
    bundle::{self, Bundle, BundleError, BundleSignature, ContentError, CpuModel, Manifest, PackRequest},
    digest::Digest,
    limits,
};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const ELF_MAGIC: &[u8] = b"\x7fELF";
const SCRIPT_MAGIC: &[u8] = b"#!";
const BUNDLE_MAGIC: &[u8] = b"DENALIB";
/// Offset and value of `EI_CLASS` in an ELF header (System V gABI): 32 bits.
const ELF_CLASS_32: (usize, u8) = (4, 1);
/// Offset and value of `e_machine` in an ELF header: x86-64.
const ELF_MACHINE: (usize, [u8; 2]) = (18, [62, 0]);

/// Memory of a VM.
const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;
/// Memory of the VM of a program for Linux, whose memory counts when it is mapped; what it never touches takes none of the node's.
/// As much as an unsigned bundle is granted. One that is large itself has [`DEFAULT_MEMORY_BYTES`] beside it.
const LINUX_MEMORY_BYTES: u64 = 256 << 20;
const DEFAULT_CPU_TIME: Duration = Duration::from_secs(10);
const DEFAULT_WALL_TIME: Duration = Duration::from_secs(60);

/// What a program may use, as options. Absent ones are the manifest's, or the defaults where there is no manifest.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Needs {
    /// Memory of the VM [default: the bundle's, else 64MiB, for Linux programs 256MiB]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    pub(crate) memory: Option<u64>,
    /// CPU time that one job may use [default: the bundle's, else 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) cpu_time: Option<Duration>,
    /// Time that one job may take, start to end [default: the bundle's, else 60s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) wall_time: Option<Duration>,
    /// CPU that the program needs: x86-64-v2 or x86-64-v3 [default: the bundle's, else x86-64-v2]
    #[arg(long, value_name = "MODEL", value_parser = cpu)]
    pub(crate) cpu: Option<CpuModel>,
}

/// A CPU model, for clap; `v2` and `v3` will do.
fn cpu(text: &str) -> Result<CpuModel, String> {
    let full = if text.starts_with('v') { format!("x86-64-{text}") } else { text.to_owned() };
    full.parse().map_err(|error: bundle::ParseCpuModelError| error.to_string())
}

/// What goes into the bundle beside the program, as options.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Extras {
    /// File, or directory whose files go by their relative paths, to put into the bundle; for several, several times
    #[arg(long, value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    around: Surroundings,
}

impl Extras {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.around.is_empty()
    }

    /// The files, by their names in the bundle.
    fn read(&self) -> anyhow::Result<linux::Files> {
        let mut files = Vec::new();
        for path in &self.files {
            if path.is_dir() {
                files.extend(tree::read(path)?);
            } else {
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
                files.push((name.to_owned(), read_file(path)?));
            }
        }
        Ok(files)
    }
}

/// A bundle in memory.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Digest of the content.
    pub(crate) digest: Digest,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// The signatures beside it; none for a bare image.
    pub(crate) signatures: Vec<BundleSignature>,
}

impl Program {
    /// Reads a bundle or a program. `needs` are for the latter: they do not change a bundle, but `extras` do.
    pub(crate) fn read(path: &Path, needs: &Needs, extras: &Extras) -> anyhow::Result<Self> {
        let file = read_file(path)?;
        if file.starts_with(ELF_MAGIC) || file.starts_with(SCRIPT_MAGIC) || !extras.is_empty() {
            let content = pack(&file, path, None, needs, extras).with_context(|| format!("{}", path.display()))?;
            return Self::from_content(content, Vec::new());
        }
        Self::parse(&file).with_context(|| format!("{}", path.display()))
    }

    /// The bundle in the bytes of a bundle file.
    pub(crate) fn parse(file: &[u8]) -> anyhow::Result<Self> {
        let bundle = match Bundle::parse(file) {
            Err(error @ BundleError::Content(ContentError::NotABundle)) => {
                Err(error).hint("give a bundle or, to run, submit or pack it, an ELF program for x86-64")?
            }
            parsed => parsed?,
        };
        Self::from_content(bundle.content().bytes().to_vec(), bundle.signatures().to_vec())
    }

    /// The bundle of this content.
    pub(crate) fn from_content(content: Vec<u8>, signatures: Vec<BundleSignature>) -> anyhow::Result<Self> {
        let parsed = bundle::Content::parse(&content)?;
        let (digest, manifest) = (parsed.digest(), parsed.manifest().clone());
        Ok(Self { content, digest, manifest, signatures })
    }
}

/// Packs the program that `file` has, which was read from `path`, or packs a bundle again with what is new. Its name is
/// that of the file, or the bundle's, if there is no other.
pub(crate) fn pack(
    file: &[u8],
    path: &Path,
    name: Option<&str>,
    needs: &Needs,
    extras: &Extras,
) -> anyhow::Result<Vec<u8>> {
    if file.starts_with(BUNDLE_MAGIC) && !(extras.is_empty() && name.is_none()) {
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
    let request = PackRequest {
        name: name.unwrap_or(&old.name),
        cpu: needs.cpu.unwrap_or(old.cpu),
        memory_bytes: needs.memory.unwrap_or(old.memory_bytes + grown.next_multiple_of(1 << 20)),
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
            "this is a bundle already: run, sign or submit it as it is, or pack it again with more --files"
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
pub(crate) fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(|| "program".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// Reads a whole file, if it is no larger than a bundle file may be.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(limits::BUNDLE_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > limits::BUNDLE_FILE_BYTES {
        return fail(
            format!("{} is larger than a bundle may be ({} bytes)", path.display(), limits::BUNDLE_FILE_BYTES),
            "give large data to a job as its input",
        );
    }
    Ok(bytes)
}

/// Seconds since 1970 (UTC), now.
pub(crate) fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The start of an x86-64 ELF file.
    pub(crate) fn elf() -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..4].copy_from_slice(ELF_MAGIC);
        elf[18] = 62;
        elf
    }

    #[test]
    fn an_image_and_its_bundle_are_the_same_program() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("hello.elf");
        std::fs::write(&image, elf()).unwrap();
        let packed = Program::read(&image, &Needs::default(), &Extras::default()).unwrap();
        assert_eq!((packed.manifest.name.as_str(), packed.manifest.memory_bytes), ("hello", DEFAULT_MEMORY_BYTES));

        let file = directory.path().join("hello.denali");
        std::fs::write(&file, bundle::assemble(&packed.content, &[]).unwrap()).unwrap();
        assert_eq!(Program::read(&file, &Needs::default(), &Extras::default()).unwrap().digest, packed.digest);
    }

    #[test]
    fn what_is_no_program_is_refused_with_advice() {
        let mut other_cpu = elf();
        other_cpu[18] = 183;
        let mut narrow = elf();
        narrow[4] = 1;
        for (wrong, word) in [
            (b"#!/bin/sh -e\n".to_vec(), "\"/bin/sh -e\""),
            (other_cpu, "another CPU"),
            (narrow, "32-bit"),
            (b"DENALIB1".to_vec(), "a bundle already"),
            (Vec::new(), "not an ELF"),
        ] {
            let error = pack(&wrong, Path::new("x"), None, &Needs::default(), &Extras::default()).unwrap_err();
            let text = super::super::failure::text(&error).unwrap();
            assert!(text.contains("hint: ") && text.contains(word), "{text}");
        }
    }

    #[test]
    fn nodes_grant_what_linux_programs_ask_for() {
        assert!(LINUX_MEMORY_BYTES <= crate::node::policy::Unsigned::default().memory);
    }

    #[test]
    fn cpu_models_have_short_names() {
        assert_eq!(cpu("v3"), Ok(CpuModel::V3));
        assert_eq!(cpu("x86-64-v2"), Ok(CpuModel::V2));
        assert!(cpu("v4").is_err());
    }
}

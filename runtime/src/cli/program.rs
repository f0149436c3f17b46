//! The program that a command is given: a bundle, or a bare ELF image that is packed in memory. Told apart by how the
//! file starts.

use super::{
    failure::{Hint, fail},
    linux, units,
};
use anyhow::Context;
use denali_protocol::{
    bundle::{self, Bundle, BundleError, BundleSignature, ContentError, CpuModel, Manifest, PackRequest},
    digest::Digest,
    limits,
};
use std::{
    borrow::Cow,
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const ELF_MAGIC: &[u8] = b"\x7fELF";
/// Offset and value of `e_machine` in an ELF header (System V gABI): x86-64.
const ELF_MACHINE: (usize, [u8; 2]) = (18, [62, 0]);

const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;
const DEFAULT_CPU_TIME: Duration = Duration::from_secs(10);
const DEFAULT_WALL_TIME: Duration = Duration::from_secs(60);

/// What a program may use, as options. Absent ones are the manifest's, or the defaults where there is no manifest.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Needs {
    /// Memory of the VM [default: the bundle's, else 64MiB]
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
    /// Reads a bundle or an ELF image. `needs` are for the latter: they do not change a bundle.
    pub(crate) fn read(path: &Path, needs: &Needs) -> anyhow::Result<Self> {
        let file = read_file(path)?;
        if !file.starts_with(ELF_MAGIC) {
            return Self::parse(&file).with_context(|| format!("{}", path.display()));
        }
        let content = pack_elf(&file, &name_of(path), needs, &[]).with_context(|| format!("{}", path.display()))?;
        Self::from_content(content, Vec::new())
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

/// Packs an ELF image, refusing what is none.
pub(crate) fn pack_elf(
    program: &[u8],
    name: &str,
    needs: &Needs,
    files: &[(String, Vec<u8>)],
) -> anyhow::Result<Vec<u8>> {
    if !program.starts_with(ELF_MAGIC) {
        let hint = if program.starts_with(b"DENALIB") {
            "this is a bundle already: run, sign or submit it as it is"
        } else {
            "pack a program that was built for the Denali VM; `denali samples DIR` writes some"
        };
        return fail("not an ELF program", hint);
    }
    let (offset, machine) = ELF_MACHINE;
    if program.get(offset..offset + 2) != Some(machine.as_slice()) {
        return fail("an ELF program for another CPU", "build it for x86-64");
    }
    let (program, files) = if linux::is_for_linux(program) {
        let (image, mut all) = linux::pack(program, name)?;
        all.extend_from_slice(files);
        (Cow::Owned(image), Cow::Owned(all))
    } else {
        (Cow::Borrowed(program), Cow::Borrowed(files))
    };
    let (program, files) = (&*program, &*files);
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
        let packed = Program::read(&image, &Needs::default()).unwrap();
        assert_eq!((packed.manifest.name.as_str(), packed.manifest.memory_bytes), ("hello", DEFAULT_MEMORY_BYTES));

        let file = directory.path().join("hello.denali");
        std::fs::write(&file, bundle::assemble(&packed.content, &[]).unwrap()).unwrap();
        assert_eq!(Program::read(&file, &Needs::default()).unwrap().digest, packed.digest);
    }

    #[test]
    fn what_is_no_program_is_refused_with_advice() {
        let mut other_cpu = elf();
        other_cpu[18] = 183;
        for wrong in [b"#!/bin/sh\n".to_vec(), other_cpu, b"DENALIB1".to_vec(), Vec::new()] {
            let error = pack_elf(&wrong, "x", &Needs::default(), &[]).unwrap_err();
            assert!(super::super::failure::text(&error).unwrap().contains("hint: "));
        }
    }

    #[test]
    fn cpu_models_have_short_names() {
        assert_eq!(cpu("v3"), Ok(CpuModel::V3));
        assert_eq!(cpu("x86-64-v2"), Ok(CpuModel::V2));
        assert!(cpu("v4").is_err());
    }
}

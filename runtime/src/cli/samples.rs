//! `denali samples`: writes the built-in sample bundles.

use super::{
    print,
    program::{Needs, pack_elf},
    write,
};
use anyhow::Context;
use denali_protocol::bundle;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Write the built-in sample bundles, unsigned: programs to try, and under hostile/ some that attack their VM.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali samples samples/ && denali run samples/hello.denali")]
pub(crate) struct Args {
    /// Directory to write them to; made if missing.
    directory: PathBuf,
    /// Print JSON: the list of files.
    #[arg(long)]
    json: bool,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let mut written = Vec::new();
    for (name, elf) in all() {
        let path = args.directory.join(format!("{name}.denali"));
        write_one(&path, name, elf).with_context(|| format!("sample {name}"))?;
        written.push(path);
    }
    // Only now, so that a reader of the list that goes away leaves no sample unwritten.
    if args.json {
        print::json(&written)?;
    } else {
        written.iter().try_for_each(|path| print::line(path.display().to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_one(path: &Path, name: &str, elf: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    write::replace(path, &bundle::assemble(&content(name, elf)?, &[])?)
}

/// The sample that needs more memory than the default: one of its computations walks over 256 MiB.
const LARGE: &str = "kernels-bench";
const LARGE_BYTES: u64 = 320 << 20;

/// The content of a sample's bundle.
fn content(name: &str, elf: &[u8]) -> anyhow::Result<Vec<u8>> {
    let memory = (name == LARGE).then_some(LARGE_BYTES);
    pack_elf(elf, name, &Needs { memory, ..Needs::default() }, &[])
}

/// The content of the sample of this name.
pub(crate) fn named(name: &str) -> anyhow::Result<Vec<u8>> {
    let (name, elf) =
        all().find(|(sample, _)| *sample == name).with_context(|| format!("this build has no sample {name}"))?;
    content(name, elf)
}

/// Names and images of all samples.
fn all() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    denali_samples::ALL.iter().map(|sample| (sample.name, sample.elf))
}

//! `denali pack`: from a program and files to a bundle, always the same bytes for the same input.

use super::{
    print,
    program::{self, Extras, Needs},
    units, write,
};
use anyhow::Context;
use denali_protocol::{bundle, digest::Digest};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Pack a program into a bundle: one file that names itself by the digest of its content.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  denali pack hello.elf -o hello.denali --memory 16MiB --files data/\n  \
                        denali pack /usr/bin/sqlite3 -o sqlite3.denali")]
pub(crate) struct Args {
    /// The program: an ELF file for x86-64 Linux, or for the Denali VM. A bundle is packed again, with what is new.
    program: PathBuf,
    /// Where to write the bundle.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// A name for people [default: the bundle's, else the program's file name]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    extras: Extras,
    #[command(flatten)]
    needs: Needs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Packed<'a> {
    digest: String,
    bytes: u64,
    file: &'a Path,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let image = program::read_file(&args.program)?;
    let content = program::pack(&image, &args.program, args.name.as_deref(), &args.needs, &args.extras)
        .with_context(|| format!("cannot pack {}", args.program.display()))?;
    let file = bundle::assemble(&content, &[])?;
    write::replace(&args.output, &file)?;

    let digest = Digest::of(&content);
    let bytes = file.len() as u64;
    if args.json {
        print::json(&Packed { digest: digest.to_string(), bytes, file: &args.output })?;
    } else {
        print::line(format!("{digest}  {} ({})", args.output.display(), units::show_bytes(bytes)))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `denali inspect`: what a bundle says of itself, and who vouches for it.

use super::{
    clock::unix_now_s,
    failure, print,
    program::{Program, read_file},
    units,
};
use anyhow::Context;
use denali_protocol::bundle::{FileEntry, Manifest, SignatureError, verify_signatures};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};

/// Show a bundle: digest, manifest, files and signatures.
///
/// Exits with 1 if nodes would refuse the bundle for its signatures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali inspect hello.denali --json")]
pub(crate) struct Args {
    /// The bundle.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Inspected<'a> {
    digest: String,
    content_bytes: usize,
    name: &'a str,
    cpu: String,
    memory_bytes: u64,
    cpu_time_us: u64,
    wall_time_us: u64,
    program_bytes: u64,
    files: &'a [FileEntry],
    signatures: &'a [Signature],
    /// Why nodes refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize)]
struct Signature {
    signer: String,
    /// Absent for a signature without end.
    expires_unix_s: Option<u64>,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let program = Program::parse(&read_file(&args.file)?).with_context(|| format!("{}", args.file.display()))?;
    let now_s = unix_now_s();
    let signatures: Vec<_> = program.signatures.iter().map(|s| judge(s, &program, now_s)).collect();
    let refused = verify_signatures(&program.digest, &program.signatures, now_s).err();
    let status = if refused.is_some() { failure::NO } else { 0 };
    if args.json {
        print::json(&as_json(&program, &signatures, refused))?;
    } else {
        show(&program, &signatures, refused)?;
    }
    Ok(ExitCode::from(status))
}

fn judge(signature: &denali_protocol::bundle::BundleSignature, program: &Program, now_s: u64) -> Signature {
    let error = signature.verify(&program.digest, now_s).err();
    Signature {
        signer: signature.signer.to_string(),
        expires_unix_s: (signature.expires_unix_s != u64::MAX).then_some(signature.expires_unix_s),
        valid: error.is_none(),
        error: error.map(|error| error.to_string()),
    }
}

fn as_json<'a>(program: &'a Program, signatures: &'a [Signature], refused: Option<SignatureError>) -> Inspected<'a> {
    let Manifest { name, cpu, memory_bytes, cpu_time_us, wall_time_us, program_bytes, files } = &program.manifest;
    Inspected {
        digest: program.digest.to_string(),
        content_bytes: program.content.len(),
        name,
        cpu: cpu.to_string(),
        memory_bytes: *memory_bytes,
        cpu_time_us: *cpu_time_us,
        wall_time_us: *wall_time_us,
        program_bytes: *program_bytes,
        files,
        signatures,
        refused: refused.map(|error| error.to_string()),
    }
}

fn show(program: &Program, signatures: &[Signature], refused: Option<SignatureError>) -> anyhow::Result<()> {
    let manifest = &program.manifest;
    for (name, value) in [
        ("digest", program.digest.to_string()),
        ("name", manifest.name.clone()),
        ("cpu", manifest.cpu.to_string()),
        ("memory", units::show_bytes(manifest.memory_bytes)),
        ("cpu time", units::show_micros(manifest.cpu_time_us)),
        ("wall time", units::show_micros(manifest.wall_time_us)),
        ("program", units::show_bytes(manifest.program_bytes)),
    ] {
        print::line(format!("{name:<10} {value}"))?;
    }
    for FileEntry { name, bytes } in &manifest.files {
        print::line(format!("{:<10} {name} ({})", "file", units::show_bytes(*bytes)))?;
    }
    if signatures.is_empty() {
        print::line(format!("{:<10} none", "signed by"))?;
    }
    for signature in signatures {
        let standing = match &signature.error {
            None => until(signature.expires_unix_s.unwrap_or(u64::MAX)),
            Some(error) => format!("DOES NOT COUNT: {error}"),
        };
        print::line(format!("{:<10} {} {standing}", "signed by", signature.signer))?;
    }
    match refused {
        Some(error) => print::line(format!("{:<10} nodes will not run it: {error}", "refused")),
        None => Ok(()),
    }
}

/// Until when a signature counts, in words.
pub(crate) fn until(expires_unix_s: u64) -> String {
    match expires_unix_s {
        u64::MAX => "without end".to_owned(),
        seconds => format!("until {}", units::show_time(seconds.saturating_mul(1000))),
    }
}

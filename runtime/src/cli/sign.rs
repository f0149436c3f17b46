//! `denali sign`: adds a signature to a bundle. The content and its digest stay as they are.

use super::{
    clock::unix_now_s,
    key, print,
    program::{Program, read_file},
    units, write,
};
use anyhow::Context;
use denali_protocol::bundle::{self, BundleSignature};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// Sign a bundle, in place. Signing again with the same key replaces the signature.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali sign hello.denali --key alice.key --expires 30d")]
pub(crate) struct Args {
    /// The bundle.
    file: PathBuf,
    /// The key to sign with [default: the default key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How long the signature counts, or `never` for no end.
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = expiry)]
    expires: Expiry,
    /// Write the signed bundle here, and leave FILE as it is.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    After(Duration),
    Never,
}

fn expiry(text: &str) -> Result<Expiry, String> {
    match text {
        "never" => Ok(Expiry::Never),
        _ => units::duration(text).map(Expiry::After).map_err(|error| format!("{error}, or never")),
    }
}

impl Expiry {
    fn unix_s(self, now_s: u64) -> u64 {
        match self {
            Self::After(duration) => now_s.saturating_add(duration.as_secs()),
            Self::Never => u64::MAX,
        }
    }
}

#[derive(Serialize)]
struct Signed {
    digest: String,
    signer: String,
    expires_unix_s: Option<u64>,
    signatures: usize,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let Program { content, digest, mut signatures, .. } =
        Program::parse(&read_file(&args.file)?).with_context(|| format!("cannot sign {}", args.file.display()))?;
    let key = key::given_or_default(&args.key)?;
    let signature = BundleSignature::sign(&digest, &key, args.expires.unix_s(unix_now_s()));
    signatures.retain(|other| other.signer != signature.signer);
    signatures.push(signature.clone());
    let file = bundle::assemble(&content, &signatures)?;
    write::replace(args.output.as_ref().unwrap_or(&args.file), &file)?;

    if args.json {
        let expires_unix_s = (args.expires != Expiry::Never).then_some(signature.expires_unix_s);
        let (digest, signer) = (digest.to_string(), signature.signer.to_string());
        print::json(&Signed { digest, signer, expires_unix_s, signatures: signatures.len() })?;
    } else {
        let until = super::inspect::until(signature.expires_unix_s);
        print::line(format!("{digest}  signed by {} {until}", signature.signer))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_a_duration_or_never() {
        assert_eq!(expiry("1d").unwrap().unix_s(10), 10 + 86_400);
        assert_eq!(expiry("never").unwrap().unix_s(10), u64::MAX);
        assert!(expiry("soon").unwrap_err().ends_with("or never"));
    }
}

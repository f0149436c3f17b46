//! `denali key`: makes and shows keys.

use super::{failure::Hint, print};
use crate::{
    home::Home,
    key_file::{self, KeyFileError},
};
use anyhow::Context;
use denali_protocol::identity::{KeyPair, PublicKey};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Make a key, or show the public half of one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  denali key new --out alice.key\n  denali key show")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a new key. A file that exists is never overwritten.
    #[command(after_help = "Example:\n  denali key new --out alice.key")]
    New {
        /// Where to write it [default: the default key]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the public key.
    #[command(after_help = "Example:\n  denali key show alice.key")]
    Show {
        /// The key file [default: the default key]
        file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Shown<'a> {
    public_key: String,
    file: &'a Path,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let (path, key, json) = match &args.action {
        Action::New { out, json } => {
            let path = or_default(out)?;
            let key = key_file::create(&path).hint("choose another file with --out, or use the key that is there")?;
            (path, key, json)
        }
        Action::Show { file, json } => {
            let path = or_default(file)?;
            (path.clone(), read(&path)?, json)
        }
    };
    if *json {
        print::json(&Shown { public_key: key.public().to_string(), file: &path })?;
    } else {
        print::line(key.public().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn or_default(path: &Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match path {
        Some(path) => Ok(path.clone()),
        None => Ok(Home::locate().hint("give the file")?.key_path()),
    }
}

/// Reads a key file, with advice where it cannot be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<KeyPair> {
    let hint = match key_file::load(path) {
        Ok(key) => return Ok(key),
        Err(KeyFileError::Open { .. }) => format!("run: chmod 600 {}", path.display()),
        Err(KeyFileError::Io { ref source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            format!("make it with: denali key new --out {}", path.display())
        }
        Err(error) => return Err(error.into()),
    };
    key_file::load(path).hint(hint)
}

/// The key that a command acts with: the one given, else the default one, made at first use.
pub(crate) fn given_or_default(path: &Option<PathBuf>) -> anyhow::Result<KeyPair> {
    match path {
        Some(path) => read(path),
        None => {
            let home = Home::locate().hint("give a key with --key")?;
            if home.key_path().exists() {
                return read(&home.key_path());
            }
            home.key().context("the default key cannot be used").hint("give another with --key")
        }
    }
}

/// A public key, for clap.
pub(crate) fn public(text: &str) -> Result<PublicKey, String> {
    text.parse().map_err(|error: denali_protocol::digest::ParseHexError| error.to_string())
}

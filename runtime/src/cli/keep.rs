//! What commands keep of jobs that ended: receipts and output files.

use super::{directory::Directory, failure::Hint, units};
use crate::client::fetch::{DEFAULT_LIMIT_BYTES, FetchError, Fetched};
use denali_protocol::{
    job::{Channel, JobId},
    receipt::Receipt,
};
use std::path::PathBuf;

/// What to keep, as options.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeepArgs {
    /// Write the receipts to this directory, as JOB-INDEX.receipt.
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// Write named output files below this directory; of a whole array, all outputs, by index.
    #[arg(long, short, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Fetch no output of a job that has more than this [default: 1GiB]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    output_limit: Option<u64>,
    /// Let receipts and output files take the place of files that are there.
    #[arg(long)]
    force: bool,
}

/// Where to keep what.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// Directory of receipts.
    receipts: Option<Directory>,
    /// Directory of output files.
    pub(crate) outputs: Option<Directory>,
    /// Most bytes to fetch of one job.
    pub(crate) limit_bytes: u64,
}

impl KeepArgs {
    /// Whether anything is to be kept.
    pub(crate) fn any(&self) -> bool {
        self.receipts.is_some() || self.output_dir.is_some()
    }

    /// Where to keep what.
    pub(crate) fn keep(&self) -> Keep {
        let directory = |path: &Option<PathBuf>| path.clone().map(|path| Directory::new(path, self.force));
        Keep {
            receipts: directory(&self.receipts),
            outputs: directory(&self.output_dir),
            limit_bytes: self.output_limit.unwrap_or(DEFAULT_LIMIT_BYTES),
        }
    }
}

impl Keep {
    /// Writes a receipt as `JOB-INDEX.receipt`.
    pub(crate) fn receipt(&self, job: &JobId, index: u32, receipt: &Receipt) -> anyhow::Result<()> {
        let Some(directory) = &self.receipts else { return Ok(()) };
        let mut file = directory.create(None, &format!("{job}-{index}.receipt"))?;
        file.write(&receipt.0)?;
        file.finish()
    }
}

/// Writes the named files of a single job below `directory`.
pub(crate) fn files(directory: &Directory, fetched: &mut Fetched) -> anyhow::Result<()> {
    files_within(directory, None, fetched)
}

/// Writes all outputs of one job of an array: `INDEX.stdout`, `INDEX.stderr`, and its files below `INDEX/`.
pub(crate) fn all(directory: &Directory, fetched: &mut Fetched) -> anyhow::Result<()> {
    let index = fetched.result.index.to_string();
    for (channel, bytes) in &mut fetched.outputs {
        let kind = match channel {
            Channel::Output => "stdout",
            Channel::Error => "stderr",
            Channel::File(_) => continue,
        };
        let mut file = directory.create(None, &format!("{index}.{kind}"))?;
        file.copy(bytes)?;
        file.finish()?;
    }
    files_within(directory, Some(&index), fetched)
}

fn files_within(directory: &Directory, within: Option<&str>, fetched: &mut Fetched) -> anyhow::Result<()> {
    for (channel, bytes) in &mut fetched.outputs {
        if let Channel::File(name) = channel {
            let mut file = directory.create(within, name)?;
            file.copy(bytes)?;
            file.finish()?;
        }
    }
    Ok(())
}

/// Adds advice where outputs were too long to be fetched.
pub(crate) fn advised<T>(fetched: Result<T, FetchError>) -> anyhow::Result<T> {
    match fetched {
        Err(error @ FetchError::TooLong { .. }) => Err(error).hint("fetch more with --output-limit"),
        fetched => Ok(fetched?),
    }
}

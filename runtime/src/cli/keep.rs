//! What commands keep of jobs that ended: receipts and output files.

use super::{outputs, write};
use crate::client::fetch::Fetched;
use anyhow::Context;
use denali_protocol::{
    job::{Channel, JobId},
    receipt::Receipt,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where to keep what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keep {
    /// Directory of receipts.
    pub(crate) receipts: Option<PathBuf>,
    /// Directory of output files.
    pub(crate) outputs: Option<PathBuf>,
}

impl Keep {
    /// Writes a receipt as `JOB-INDEX.receipt`.
    pub(crate) fn receipt(&self, job: &JobId, index: u32, receipt: &Receipt) -> anyhow::Result<()> {
        let Some(directory) = &self.receipts else { return Ok(()) };
        make(directory)?;
        write::replace(&directory.join(format!("{job}-{index}.receipt")), &receipt.0)
    }
}

/// Writes the named files of a single job below `directory`.
pub(crate) fn files(directory: &Path, fetched: &mut Fetched) -> anyhow::Result<()> {
    make(directory)?;
    for (channel, bytes) in &mut fetched.outputs {
        if let Channel::File(name) = channel {
            let mut file = outputs::create(directory, name)?;
            io::copy(bytes, &mut file).with_context(|| format!("cannot write {}", directory.join(name).display()))?;
        }
    }
    Ok(())
}

/// Writes all outputs of one job of an array: `INDEX.stdout`, `INDEX.stderr`, and its files below `INDEX/`.
pub(crate) fn all(directory: &Path, fetched: &mut Fetched) -> anyhow::Result<()> {
    let index = fetched.result.index.to_string();
    make(directory)?;
    for (channel, bytes) in &mut fetched.outputs {
        let path = match channel {
            Channel::Output => directory.join(format!("{index}.stdout")),
            Channel::Error => directory.join(format!("{index}.stderr")),
            Channel::File(_) => continue,
        };
        let copied = File::create(&path).and_then(|mut file| io::copy(bytes, &mut file));
        copied.with_context(|| format!("cannot write {}", path.display()))?;
    }
    if fetched.outputs.iter().any(|(channel, _)| matches!(channel, Channel::File(_))) {
        files(&directory.join(index), fetched)?;
    }
    Ok(())
}

fn make(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

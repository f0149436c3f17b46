//! A program for the host that this binary carries, to measure VMs against.

use anyhow::Context;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A native program on the disk, gone when dropped.
#[derive(Debug)]
pub(crate) struct NativeProgram {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl NativeProgram {
    /// Writes the program to a directory of its own.
    pub(crate) fn unpack(image: &[u8]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("program");
        fs::write(&path, image)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, _directory: directory })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

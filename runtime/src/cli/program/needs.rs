//! What a program may use, and what goes into its bundle, as options.

use super::read_file;
use crate::cli::{
    linux::{self, Surroundings},
    tree, units,
};
use anyhow::Context;
use denali_protocol::bundle::{self, CpuModel, Manifest};
use std::{path::PathBuf, time::Duration};

/// Memory of a VM.
pub(super) const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;
/// Memory of the VM of a program for Linux, whose memory counts when it is mapped; what it never touches takes none of the node's.
/// As much as an unsigned bundle is granted. One that is large itself has [`DEFAULT_MEMORY_BYTES`] beside it.
pub(super) const LINUX_MEMORY_BYTES: u64 = 256 << 20;
pub(super) const DEFAULT_CPU_TIME: Duration = Duration::from_secs(10);
pub(super) const DEFAULT_WALL_TIME: Duration = Duration::from_secs(60);

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

impl Needs {
    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_none() && self.cpu_time.is_none() && self.wall_time.is_none() && self.cpu.is_none()
    }

    /// Whether a bundle has what is asked for, and no more nor less.
    pub(crate) fn are_those_of(&self, manifest: &Manifest) -> bool {
        self.memory.is_none_or(|bytes| bytes == manifest.memory_bytes)
            && self.cpu_time.is_none_or(|time| units::micros(time) == manifest.cpu_time_us)
            && self.wall_time.is_none_or(|time| units::micros(time) == manifest.wall_time_us)
            && self.cpu.is_none_or(|cpu| cpu == manifest.cpu)
    }
}

/// A CPU model, for clap; `v2` and `v3` will do.
pub(super) fn cpu(text: &str) -> Result<CpuModel, String> {
    let full = if text.starts_with('v') { format!("x86-64-{text}") } else { text.to_owned() };
    full.parse().map_err(|error: bundle::ParseCpuModelError| error.to_string())
}

/// What goes into the bundle beside the program, as options.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Extras {
    /// File, or directory whose files go by their relative paths, to put into the bundle; for several, several times
    #[arg(long, value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) around: Surroundings,
}

impl Extras {
    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.around.is_empty()
    }

    /// The files, by their names in the bundle.
    pub(super) fn read(&self) -> anyhow::Result<linux::Files> {
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

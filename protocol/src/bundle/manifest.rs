//! What a bundle says of itself.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The CPU that a program sees: the x86-64 psABI levels, and nothing of the host beyond them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum CpuModel {
    /// SSE4.2, POPCNT and all below. Every node offers it.
    #[default]
    V2,
    /// AVX2, BMI, FMA and all below.
    V3,
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
        })
    }
}

/// The text names no CPU model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown CPU model; use x86-64-v2 or x86-64-v3")]
pub struct ParseCpuModelError;

impl FromStr for CpuModel {
    type Err = ParseCpuModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "x86-64-v2" => Ok(Self::V2),
            "x86-64-v3" => Ok(Self::V3),
            _ => Err(ParseCpuModelError),
        }
    }
}

/// A file in a bundle. Its bytes follow the program's, in the order of the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative path with `/`, at most [`crate::limits::NAME_BYTES`] bytes.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// The manifest: what the program is and what it asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// A name for people.
    pub name: String,
    /// The CPU that the program needs.
    pub cpu: CpuModel,
    /// Memory of its VM, in bytes; a multiple of 4096.
    pub memory_bytes: u64,
    /// CPU time that one job may use, in microseconds.
    pub cpu_time_us: u64,
    /// Wall time that one job may take, in microseconds.
    pub wall_time_us: u64,
    /// Length of the program image, in bytes.
    pub program_bytes: u64,
    /// Files, sorted by name, each name once.
    pub files: Vec<FileEntry>,
}

//! What a bundle says of itself, and the rules for it.

use super::{CpuModel, path};
use crate::{
    job::Clock,
    limits::{FILES, MEMORY_BYTES, TIME_US},
};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

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

/// The rule that a manifest breaks. Whoever packed the bundle is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// The bundle's own name.
    #[error("the bundle's name {0}")]
    Name(path::LabelError),
    /// Memory out of range.
    #[error("{bytes} bytes of memory; ask for {} to {}", MEMORY_BYTES.start(), MEMORY_BYTES.end())]
    Memory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// Memory that is no whole number of pages.
    #[error("{bytes} bytes of memory; ask for a multiple of {PAGE_BYTES}")]
    MemoryPages {
        /// Bytes asked for.
        bytes: u64,
    },
    /// A time of zero, or too long.
    #[error("{clock} time of {us} us; ask for 1 to {TIME_US}")]
    Time {
        /// Which time.
        clock: Clock,
        /// Microseconds asked for.
        us: u64,
    },
    /// No program.
    #[error("the program is empty; pack an ELF file")]
    EmptyProgram,
    /// Too many files.
    #[error("{count} files, more than the limit of {FILES}; pack them into one archive")]
    TooManyFiles {
        /// Files in the manifest.
        count: usize,
    },
    /// A file name that breaks a rule.
    #[error("file {name:?} {fault}")]
    FileName {
        /// The name, cut where it is too long to show.
        name: String,
        /// The rule it breaks.
        fault: path::PathError,
    },
    /// Names not in order.
    #[error("file {name:?} is not in order; files are sorted by the bytes of their names")]
    NotSorted {
        /// The first name that is below the one before it.
        name: String,
    },
    /// A name given twice.
    #[error("file {name:?} is there twice; give each file a name of its own")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that is a file and a directory at once.
    #[error("file {name:?} is also a directory of other files; rename one")]
    FileAndDirectory {
        /// The name.
        name: String,
    },
}

/// Memory comes in pages of this many bytes.
const PAGE_BYTES: u64 = 4096;

impl Manifest {
    /// Checks every rule that the manifest can break by itself.
    ///
    /// # Errors
    /// [`ManifestError`] names the first rule broken.
    pub fn check(&self) -> Result<(), ManifestError> {
        path::check_label(&self.name).map_err(ManifestError::Name)?;
        check_memory(self.memory_bytes)?;
        check_time(Clock::Cpu, self.cpu_time_us)?;
        check_time(Clock::Wall, self.wall_time_us)?;
        if self.program_bytes == 0 {
            return Err(ManifestError::EmptyProgram);
        }
        check_files(&self.files)
    }

    /// Bytes of program and files together; `None` where the sum overflows.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<u64> {
        self.files.iter().try_fold(self.program_bytes, |sum, file| sum.checked_add(file.bytes))
    }
}

fn check_memory(bytes: u64) -> Result<(), ManifestError> {
    if !MEMORY_BYTES.contains(&bytes) {
        return Err(ManifestError::Memory { bytes });
    }
    if !bytes.is_multiple_of(PAGE_BYTES) {
        return Err(ManifestError::MemoryPages { bytes });
    }
    Ok(())
}

fn check_time(clock: Clock, us: u64) -> Result<(), ManifestError> {
    if (1..=TIME_US).contains(&us) { Ok(()) } else { Err(ManifestError::Time { clock, us }) }
}

fn check_files(files: &[FileEntry]) -> Result<(), ManifestError> {
    if files.len() > FILES {
        return Err(ManifestError::TooManyFiles { count: files.len() });
    }
    for file in files {
        path::check(&file.name)
            .map_err(|fault| ManifestError::FileName { name: file.name.chars().take(80).collect(), fault })?;
    }
    for (before, file) in files.iter().zip(files.iter().skip(1)) {
        let name = || file.name.clone();
        match before.name.cmp(&file.name) {
            Ordering::Less => {}
            Ordering::Equal => return Err(ManifestError::Duplicate { name: name() }),
            Ordering::Greater => return Err(ManifestError::NotSorted { name: name() }),
        }
    }
    check_directories(files)
}

/// Whoever unpacks the files into a tree must not find a file where a directory should be. `files` are sorted.
fn check_directories(files: &[FileEntry]) -> Result<(), ManifestError> {
    for file in files {
        for (slash, _) in file.name.match_indices('/') {
            let directory = &file.name[..slash];
            if files.binary_search_by(|other| other.name.as_str().cmp(directory)).is_ok() {
                return Err(ManifestError::FileAndDirectory { name: directory.to_owned() });
            }
        }
    }
    Ok(())
}

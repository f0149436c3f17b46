//! Reproductions: one file that holds a program, all that happened to its VM, and how that ended, to be played again.
//!
//! Lines of text come first, for people, ended by an empty one; then the same for the machine, by [`codec`]. The second line
//! says how long that is, and its SHA-256: text and machine part can't be of different programs by accident.

use super::{
    case::Case,
    trace::Trace,
    verdict::{Oracle, Verdict},
};
use denali_protocol::{
    codec::{self, DecodeError, EncodeError},
    digest::Digest,
    job::Outcome,
};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The first line. Another version has another one.
const TITLE: &str = "denali attack reproduction, version 1";

/// Longest text, in bytes.
const TEXT_BYTES: usize = 256 << 10;

/// Longest file, in bytes.
pub const REPRODUCTION_BYTES: usize = TEXT_BYTES + codec::MAX_BYTES;

/// A program with its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The program, and what happened to its VM.
    pub case: Case,
    /// How that ended.
    pub outcome: Outcome,
    /// What it did.
    pub trace: Trace,
    /// Promises that were broken, and how.
    pub findings: Vec<(Oracle, String)>,
}

/// Why a file is no reproduction.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReproductionError {
    /// It is longer than any.
    #[error("{bytes} bytes are more than a reproduction has: at most {REPRODUCTION_BYTES}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// It begins otherwise.
    #[error("it does not begin with \"{TITLE}\"")]
    Title,
    /// Its second line is not what it should be.
    #[error("its second line is not \"data LENGTH SHA-256\"")]
    Header,
    /// There is no empty line within the longest text.
    #[error("its text does not end within {TEXT_BYTES} bytes")]
    Text,
    /// Less or more follows the text than it says.
    #[error("{actual} bytes follow its text, and it says {said}")]
    Length {
        /// Bytes that follow.
        actual: usize,
        /// Bytes that should.
        said: usize,
    },
    /// What follows the text was changed.
    #[error("what follows its text has another SHA-256 than it says")]
    Digest,
    /// What follows the text is no program.
    #[error("what follows its text is no program with its end: {0}")]
    Data(#[from] DecodeError),
}

impl Reproduction {
    /// Of a program that was run.
    #[must_use]
    pub fn of(case: &Case, verdict: &Verdict) -> Self {
        let findings = verdict.findings.iter().map(|finding| (finding.oracle, finding.detail.clone())).collect();
        Self { case: case.clone(), outcome: verdict.outcome.clone(), trace: verdict.trace.clone(), findings }
    }

    /// The file.
    ///
    /// # Errors
    /// [`EncodeError`] where the program is too large: an ELF file of about a megabyte.
    pub fn write(&self) -> Result<Vec<u8>, EncodeError> {
        let data = codec::encode(self, codec::MAX_BYTES)?;
        let mut text = format!("{TITLE}\ndata {} {}\n", data.len(), Digest::of(&data));
        // An empty line would end it.
        for line in self.describe().lines().filter(|line| !line.is_empty()) {
            text.push_str(line);
            text.push('\n');
        }
        // It is for people: rather cut than too long.
        text.truncate(text.floor_char_boundary(TEXT_BYTES - TITLE.len() - 4));
        let mut file = text.trim_end().as_bytes().to_vec();
        file.extend(b"\n\n");
        file.extend(data);
        Ok(file)
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = writeln!(text, "end     {}", self.outcome);
        for (oracle, detail) in &self.findings {
            let _ = writeln!(text, "finding {oracle:?}: {}", detail.replace('\n', " "));
        }
        let _ = write!(text, "{}", self.case);
        for (n, step) in self.trace.steps.iter().enumerate() {
            let _ = writeln!(text, "exit {n}  {step}");
        }
        text
    }

    /// Reads a file, which may be hostile.
    ///
    /// # Errors
    /// [`ReproductionError`], which says what is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Self, ReproductionError> {
        if file.len() > REPRODUCTION_BYTES {
            return Err(ReproductionError::TooLong { bytes: file.len() });
        }
        let rest = file.strip_prefix(TITLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"));
        let rest = rest.ok_or(ReproductionError::Title)?;
        let (length, digest) = header(rest).ok_or(ReproductionError::Header)?;
        let text = &rest[..rest.len().min(TEXT_BYTES)];
        let end = text.windows(2).position(|two| two == b"\n\n").ok_or(ReproductionError::Text)?;
        let data = &rest[end + 2..];
        if data.len() != length {
            return Err(ReproductionError::Length { actual: data.len(), said: length });
        }
        if Digest::of(data) != digest {
            return Err(ReproductionError::Digest);
        }
        Ok(codec::decode(data, codec::MAX_BYTES)?)
    }
}

fn header(text: &[u8]) -> Option<(usize, Digest)> {
    const LONGEST: usize = 128;
    let line = text[..text.len().min(LONGEST)].split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (data, length, digest) = (words.next()?, words.next()?, words.next()?);
    if data != "data" || words.next().is_some() {
        return None;
    }
    Some((length.parse().ok()?, digest.parse().ok()?))
}

#[cfg(test)]
mod tests;

//! The nodes reached before: a file with a line `ADDRESS NODEID` each, like SSH's known hosts. Written only after a
//! node has proved its key; the last line for an address counts.

use denali_protocol::identity::PublicKey;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Longest file that is read, in bytes: some ten thousand nodes.
const FILE_BYTES: u64 = 1 << 20;

/// Why the file is of no use. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownNodesError {
    /// It cannot be read or written.
    #[error("known nodes {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is not `ADDRESS NODEID`.
    #[error("known nodes {}: line {line} is not ADDRESS NODEID", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
}

/// The key that the node at `address` had.
pub(crate) fn recall(path: &Path, address: &str) -> Result<Option<PublicKey>, KnownNodesError> {
    let failed = |source| KnownNodesError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES).read_to_string(&mut text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    find(&text, path, address)
}

/// The key of `address` in the text of a file at `path`.
pub(crate) fn find(text: &str, path: &Path, address: &str) -> Result<Option<PublicKey>, KnownNodesError> {
    let mut found = None;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let entry = line.split_once(' ').and_then(|(address, key)| Some((address, key.trim().parse().ok()?)));
        match entry {
            Some((known, key)) if known == address => found = Some(key),
            Some(_) => {}
            None => return Err(KnownNodesError::Line { path: path.to_owned(), line: index + 1 }),
        }
    }
    Ok(found)
}

/// Notes that the node at `address` proved to hold `node`.
pub(crate) fn remember(path: &Path, address: &str, node: PublicKey) -> Result<(), KnownNodesError> {
    let failed = |source| KnownNodesError::Io { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    // One write to a file opened for appending: lines of two commands never mix.
    file.write_all(format!("{address} {node}\n").as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/known_nodes");
        assert_eq!(recall(&path, "a:1").unwrap(), None);
        for (address, byte) in [("a:1", 1), ("b:1", 2), ("a:1", 3)] {
            remember(&path, address, PublicKey([byte; 32])).unwrap();
        }
        assert_eq!(recall(&path, "a:1").unwrap(), Some(PublicKey([3; 32])));
        assert_eq!(recall(&path, "b:1").unwrap(), Some(PublicKey([2; 32])));
    }

    #[test]
    fn a_broken_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_nodes");
        fs::write(&path, "# mine\n\nrubbish\n").unwrap();
        assert!(matches!(recall(&path, "a:1"), Err(KnownNodesError::Line { line: 3, .. })));
    }
}

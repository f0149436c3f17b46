//! A tree of files: directories, files and symbolic links below one root, with their modes.
//!
//! It travels as a tar archive, whose files are borrowed when it is read. Owners and times are not kept: in a bundle the
//! same tree is the same bytes.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, btree_map},
    string::String,
    vec::Vec,
};

/// Most entries.
const ENTRIES_MAX: usize = 1 << 16;
/// Most bytes of all paths together, those of the directories that lead to others included.
const PATHS_BYTES_MAX: usize = 16 << 20;
/// Longest path, in bytes, without a terminator.
pub(super) const PATH_MAX: usize = crate::fs::limits::PATH_MAX - 1;
/// The bits of a mode.
const MODE_BITS: u32 = 0o7777;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<F> {
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub node: Node<F>,
}

/// What an entry is; `F` are the contents of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<F> {
    /// A directory.
    Directory,
    /// A regular file.
    File(F),
    /// A symbolic link, and its text.
    Symlink(Vec<u8>),
}

/// Entries by their paths. A path has neither empty components nor `.` or `..`, and each directory on its way is an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree<F> {
    entries: BTreeMap<Vec<u8>, Entry<F>>,
    /// Bytes of all paths.
    path_bytes: usize,
}

impl<F> IntoIterator for Tree<F> {
    type Item = (Vec<u8>, Entry<F>);
    type IntoIter = btree_map::IntoIter<Vec<u8>, Entry<F>>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// Why there is no tree. Whoever packed it is at fault.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// Not a tar archive, or a broken one.
    #[error("the archive is broken at byte {at}: {error}; pack it again")]
    Archive {
        /// Where the header begins.
        at: usize,
        /// What is wrong with it.
        error: String,
    },
    /// It ends early.
    #[error("the archive is cut short at byte {at}; pack it again")]
    Truncated {
        /// Where the last header begins.
        at: usize,
    },
    /// A hard link, a device or the like.
    #[error("{path:?} is no file, directory or symbolic link; leave it out, or put a copy in its place")]
    Unsupported {
        /// Its path.
        path: String,
    },
    /// A path that leads elsewhere, or is too long.
    #[error("{path:?} is no path below the root, of at most {PATH_MAX} bytes, without . and ..")]
    Path {
        /// Its path.
        path: String,
    },
    /// Something else is there.
    #[error("{path:?} is there twice, or below what is no directory")]
    Twice {
        /// Its path.
        path: String,
    },
    /// Too many entries.
    #[error("more than {ENTRIES_MAX} files; leave some out")]
    TooMany,
    /// Too long paths in all.
    #[error(
        "the paths of all files and directories take more than {PATHS_BYTES_MAX} bytes; leave some out, or shorten them"
    )]
    TooLong,
}

impl<F> Default for Tree<F> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), path_bytes: 0 }
    }
}

pub(super) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl<F> Tree<F> {
    /// Puts an entry at `path`, which is relative to the root, and directories (mode 755) that lead to it. A directory
    /// that is there already takes the mode.
    ///
    /// # Errors
    /// [`TreeError`]; the tree may have got directories then.
    pub fn insert(&mut self, path: &[u8], entry: Entry<F>) -> Result<(), TreeError> {
        let good = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        if path.len() > PATH_MAX || !path.split(|byte| *byte == b'/').all(good) {
            return Err(TreeError::Path { path: show(path) });
        }
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            self.insert_one(&path[..end], Entry { mode: 0o755, node: Node::Directory }, false)?;
        }
        self.insert_one(path, entry, true)
    }

    fn insert_one(&mut self, path: &[u8], entry: Entry<F>, set_mode: bool) -> Result<(), TreeError> {
        let full = self.entries.len() == ENTRIES_MAX;
        match self.entries.get_mut(path) {
            Some(Entry { mode, node: Node::Directory }) if matches!(entry.node, Node::Directory) => {
                if set_mode {
                    *mode = entry.mode & MODE_BITS;
                }
            }
            Some(_) => return Err(TreeError::Twice { path: show(path) }),
            None if full => return Err(TreeError::TooMany),
            None if self.path_bytes + path.len() > PATHS_BYTES_MAX => return Err(TreeError::TooLong),
            None => {
                self.path_bytes += path.len();
                self.entries.insert(path.to_owned(), Entry { mode: entry.mode & MODE_BITS, ..entry });
            }
        }
        Ok(())
    }

    /// The entries, relative path and all, each after the directory that it is in.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry<F>)> {
        self.entries.iter().map(|(path, entry)| (&path[..], entry))
    }

    /// What is at a path that [`Tree::resolve`] gave.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Node<F>> {
        self.entries.get(path).map(|entry| &entry.node)
    }

    /// The contents of the file at `path`, from the root, symbolic links followed.
    #[must_use]
    pub fn file(&self, path: &[u8]) -> Option<&F> {
        match self.get(&self.resolve(path)?)? {
            Node::File(contents) => Some(contents),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

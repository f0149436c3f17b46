//! A tree as a tar archive.

use super::{
    Entry, Node, Tree, TreeError,
    tree::{PATH_MAX, show},
};
use alloc::{string::ToString, vec::Vec};
use tar_core::{
    EntryBuilder, EntryType, HEADER_SIZE,
    parse::{Limits, ParseEvent, ParsedEntry, Parser},
};

impl<F: AsRef<[u8]>> Tree<F> {
    /// The tree as a tar archive: the same tree gives the same bytes.
    ///
    /// # Errors
    /// [`TreeError::Archive`] for a file that is too large for one.
    pub fn to_tar(&self) -> Result<Vec<u8>, TreeError> {
        let mut tar = Vec::new();
        for (path, entry) in self.entries() {
            let bytes = match &entry.node {
                Node::File(bytes) => bytes.as_ref(),
                _ => &[],
            };
            let header = header(path, entry, bytes.len() as u64);
            tar.extend(header.map_err(|error| TreeError::Archive { at: tar.len(), error: error.to_string() })?);
            tar.extend_from_slice(bytes);
            tar.resize(tar.len().next_multiple_of(HEADER_SIZE), 0);
        }
        // Two empty blocks are the end.
        tar.resize(tar.len() + 2 * HEADER_SIZE, 0);
        Ok(tar)
    }
}

fn header<F>(path: &[u8], entry: &Entry<F>, bytes: u64) -> tar_core::Result<Vec<u8>> {
    let mut builder = EntryBuilder::new_gnu();
    builder.path(path).mode(entry.mode)?.uid(0)?.gid(0)?.mtime(0)?.size(bytes)?;
    match &entry.node {
        Node::Directory => builder.entry_type(EntryType::Directory),
        Node::File(_) => builder.entry_type(EntryType::Regular),
        Node::Symlink(text) => builder.entry_type(EntryType::Symlink).link_name(text),
    };
    Ok(builder.finish_bytes())
}

impl<'a> Tree<&'a [u8]> {
    /// Reads a tar archive, of GNU's, POSIX's or the old form. The files are the archive's bytes.
    ///
    /// # Errors
    /// [`TreeError`] names the place or the path.
    pub fn from_tar(tar: &'a [u8]) -> Result<Self, TreeError> {
        let limits = Limits { max_path_len: Some(PATH_MAX as u32), ..Limits::default() };
        let (mut tree, mut parser, mut at) = (Self::default(), Parser::new(limits), 0);
        loop {
            let rest = &tar[at..];
            let event = parser.parse(rest).map_err(|error| TreeError::Archive { at, error: error.to_string() })?;
            let (head, entry) = match event {
                ParseEvent::End { .. } => return Ok(tree),
                ParseEvent::NeedData { .. } => return Err(TreeError::Truncated { at }),
                ParseEvent::GlobalExtensions { consumed, .. } => {
                    at += consumed;
                    continue;
                }
                ParseEvent::SparseEntry { entry, .. } => {
                    return Err(TreeError::Unsupported { path: show(&entry.path) });
                }
                ParseEvent::Entry { consumed, entry } => (consumed, entry),
            };
            let data = rest.get(head..).unwrap_or_default();
            let bytes = usize::try_from(entry.size).ok().and_then(|size| data.get(..size));
            let bytes = bytes.ok_or(TreeError::Truncated { at })?;
            // The last file may lack what fills its block.
            at += head + bytes.len().next_multiple_of(HEADER_SIZE).min(data.len());
            tree.put(&entry, bytes)?;
        }
    }

    fn put(&mut self, entry: &ParsedEntry<'_>, bytes: &'a [u8]) -> Result<(), TreeError> {
        let node = match entry.entry_type {
            EntryType::Directory => Node::Directory,
            kind if kind.is_file() => Node::File(bytes),
            EntryType::Symlink => Node::Symlink(entry.link_target.as_deref().unwrap_or_default().to_vec()),
            _ => return Err(TreeError::Unsupported { path: show(&entry.path) }),
        };
        let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if matches!(path, b"" | b".") && node == Node::Directory {
            // The root itself.
            return Ok(());
        }
        self.insert(path, Entry { mode: entry.mode, node })
    }
}

//! The files below /out: the named results of a job.
use super::{
    Content, Fs,
    inode::{Ino, Kind},
    limits::PATH_MAX,
    walk::Node,
};
use alloc::vec::Vec;

/// A result.
#[derive(Debug)]
pub struct Output<'a> {
    /// Its path below /out.
    pub name: Vec<u8>,
    /// Its bytes, holes included: [`Content::read`] gives them in pieces.
    pub content: &'a Content,
}

impl Fs {
    /// The regular files below /out, found one after the other. What is deeper than a path can say is not among them.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        let root = self.entry(Ino::ROOT, b"out").ok().flatten();
        // The directories on the way, and of each what its path takes and which entry is next.
        let mut open: Vec<(Ino, usize, u64)> = Vec::new();
        if let Some(Node::Inode(ino)) = root {
            open.push((ino, 0, 0));
        }
        let mut path = Vec::new();
        core::iter::from_fn(move || {
            loop {
                let (ino, taken, next) = open.last_mut()?;
                path.truncate(*taken);
                let directory = self.inodes.get(*ino).and_then(|inode| inode.directory()).ok();
                let Some((cookie, name, ino)) = directory.and_then(|directory| directory.from(*next).next()) else {
                    open.pop();
                    continue;
                };
                *next = cookie + 1;
                path.extend_from_slice(name);
                match self.inodes.get(ino).map(|inode| &inode.kind) {
                    Ok(Kind::File(content)) => return Some(Output { name: path.clone(), content }),
                    Ok(Kind::Directory(_)) if path.len() < PATH_MAX => {
                        path.push(b'/');
                        open.push((ino, path.len(), 0));
                    }
                    _ => {}
                }
            }
        })
    }
}

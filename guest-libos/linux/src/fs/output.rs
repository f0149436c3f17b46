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
    /// The regular files below /out, in no particular order. What is deeper than a path can say is not among them.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        let root = self.entry(Ino::ROOT, b"out").ok().flatten();
        let mut open: Vec<(Vec<u8>, Ino)> = Vec::new();
        let mut files = Vec::new();
        if let Some(Node::Inode(ino)) = root {
            open.push((Vec::new(), ino));
        }
        while let Some((path, ino)) = open.pop() {
            let Ok(directory) = self.inodes.get(ino).and_then(|inode| inode.directory()) else { continue };
            for (_, name, ino) in directory.from(0) {
                let mut name = [&path[..], name].concat();
                match self.inodes.get(ino).map(|inode| &inode.kind) {
                    Ok(Kind::File(content)) => files.push(Output { name, content }),
                    Ok(Kind::Directory(_)) if name.len() < PATH_MAX => {
                        name.push(b'/');
                        open.push((name, ino));
                    }
                    _ => {}
                }
            }
        }
        files.into_iter()
    }
}

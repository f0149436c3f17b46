//! Where a path leads in a tree, as for a process whose root it is.

use super::{Node, Tree};
use alloc::vec::Vec;

/// Symbolic links followed before it is a loop, as on Linux.
const LINKS_MAX: usize = 40;

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').rev()
}

impl<F> Tree<F> {
    /// Where `path`, from the root, leads in the end, with symbolic links followed: a path without them, of which what
    /// comes last need not be there. `None` for a loop, and for a way through a file.
    #[must_use]
    pub fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (mut at, mut links) = (Vec::new(), 0);
        // The names that are still to go, the next of them last.
        let mut names_left: Vec<&[u8]> = names(path).collect();
        while let Some(name) = names_left.pop() {
            let parent = at.len();
            match name {
                b"" | b"." => continue,
                b".." => {
                    at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    continue;
                }
                _ if at.is_empty() => at.extend_from_slice(name),
                _ => at.extend([b"/", name].concat()),
            }
            match self.get(&at) {
                Some(Node::Symlink(text)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    at.truncate(if text.starts_with(b"/") { 0 } else { parent });
                    names_left.extend(names(text));
                }
                Some(Node::File(_)) if !names_left.is_empty() => return None,
                _ => {}
            }
        }
        Some(at)
    }
}

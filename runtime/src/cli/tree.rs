//! The files of a directory, for a bundle: all of them, sorted by name, and nothing that is not a plain file.

use super::failure::fail;
use anyhow::Context;
use denali_protocol::limits;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every file below `root`, by its path relative to it. Symbolic links and special files are refused: what they mean
/// depends on the machine, and a bundle must not.
pub(crate) fn read(root: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut total_bytes = 0;
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for path in entries(&directory)? {
            let kind = fs::symlink_metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
            if kind.is_dir() {
                directories.push(path);
                continue;
            }
            if !kind.is_file() {
                return refuse(&path, kind.file_type().is_symlink());
            }
            total_bytes += kind.len();
            if files.len() == limits::FILES || total_bytes > limits::BUNDLE_BYTES {
                return too_much(root);
            }
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push((name(root, &path)?, bytes));
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
    listed.with_context(|| format!("cannot list {}", directory.display()))
}

fn name(root: &Path, path: &Path) -> anyhow::Result<String> {
    let relative = path.strip_prefix(root).unwrap_or(path);
    match relative.to_str() {
        Some(name) => Ok(name.to_owned()),
        None => fail(format!("the name of {} is not UTF-8", path.display()), "rename the file"),
    }
}

fn refuse<T>(path: &Path, link: bool) -> anyhow::Result<T> {
    let kind = if link { "a symbolic link" } else { "no regular file" };
    fail(format!("{} is {kind}, which a bundle can't hold", path.display()), "put a copy of the file in its place")
}

fn too_much<T>(root: &Path) -> anyhow::Result<T> {
    fail(
        format!(
            "{} holds more than a bundle may: {} files or {} bytes",
            root.display(),
            limits::FILES,
            limits::BUNDLE_BYTES
        ),
        "pack them into one archive, or give them to the job as its input",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_sorted_with_their_paths() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/c")).unwrap();
        for name in ["z", "b/c/d", "a"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let names: Vec<_> = read(root.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b/c/d", "z"]);
    }

    #[test]
    fn links_are_refused() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("x")).unwrap();
        assert!(read(root.path()).unwrap_err().to_string().contains("symbolic link"));
    }
}

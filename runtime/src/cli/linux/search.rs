//! Where a dynamic loader looks for libraries: ld.so(8), and the manual of musl.

use std::{fs, path::Path};

/// A kind of dynamic loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loader {
    /// glibc's.
    Gnu,
    /// musl's, which is the C library too.
    Musl,
}

impl Loader {
    /// The kind of the one at `path`.
    pub(super) fn of(path: &str) -> Self {
        if path.rsplit('/').next().is_some_and(|name| name.starts_with("ld-musl-")) { Self::Musl } else { Self::Gnu }
    }

    /// Whether it is itself what a program calls `library`.
    pub(super) fn is(self, library: &str) -> bool {
        match self {
            Self::Gnu => library.starts_with("ld-linux"),
            Self::Musl => library == "libc.so" || library.starts_with("libc.musl-") || library.starts_with("ld-musl-"),
        }
    }

    /// Directories in which it looks without being told.
    pub(super) const fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Gnu => {
                &["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
            }
            Self::Musl => &["/lib", "/usr/local/lib", "/usr/lib"],
        }
    }

    /// Directories in which it looks on this machine.
    pub(super) fn directories(self) -> Vec<String> {
        let mut directories = Vec::new();
        match self {
            Self::Gnu => configured(Path::new("/etc/ld.so.conf"), &mut directories, 0),
            Self::Musl => {
                let text = fs::read_to_string("/etc/ld-musl-x86_64.path").unwrap_or_default();
                directories.extend(text.split([':', '\n']).filter(|path| path.starts_with('/')).map(str::to_owned));
            }
        }
        directories.extend(self.usual().iter().map(|path| (*path).to_owned()));
        directories
    }
}

/// Files that a configuration may include, one in the other.
const INCLUDES_MAX: u32 = 4;

/// Adds what a file like /etc/ld.so.conf names. One that is not there names nothing.
fn configured(file: &Path, directories: &mut Vec<String>, depth: u32) {
    let text = fs::read_to_string(file).unwrap_or_default();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(pattern) = line.strip_prefix("include ").filter(|_| depth < INCLUDES_MAX) {
            for included in matching(&file.with_file_name(pattern.trim())) {
                configured(&included, directories, depth + 1);
            }
        } else if line.starts_with('/') {
            directories.push(line.to_owned());
        }
    }
}

/// The files that a pattern means, sorted: its last component may be `*` and an ending, as everyone writes it.
fn matching(pattern: &Path) -> Vec<std::path::PathBuf> {
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let Some(ending) = name.strip_prefix('*') else { return vec![pattern.to_owned()] };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_includes_others() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        let main = folder.path().join("ld.so.conf");
        fs::write(&main, "# first\ninclude d/*.conf\n/last # here\nhwcap 1 x\ninclude ld.so.conf\n").unwrap();
        fs::write(folder.path().join("d/b.conf"), "/b\n").unwrap();
        fs::write(folder.path().join("d/a.conf"), "/a\n\n/a2\n").unwrap();
        fs::write(folder.path().join("d/c.txt"), "/c\n").unwrap();
        let mut directories = Vec::new();
        configured(&main, &mut directories, INCLUDES_MAX - 1);
        assert_eq!(directories, ["/a", "/a2", "/b", "/last", "/last"], "it includes itself, and not for ever");
        configured(&folder.path().join("none"), &mut directories, 0);
        assert_eq!(directories.len(), 5);
    }

    #[test]
    fn loaders_are_told_apart() {
        assert_eq!(Loader::of("/lib64/ld-linux-x86-64.so.2"), Loader::Gnu);
        assert_eq!(Loader::of("/lib/ld-musl-x86_64.so.1"), Loader::Musl);
        assert!(Loader::Musl.is("libc.so") && !Loader::Gnu.is("libc.so.6") && Loader::Gnu.is("ld-linux-x86-64.so.2"));
    }
}

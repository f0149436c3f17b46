//! The results of the job that have names.

use crate::inside;
use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

/// Most bytes of the name of a result.
const NAME_BYTES: usize = 255;

/// Makes a named result of the job, empty to begin with: a file to write to. A name may have directories: `tables/3.csv`.
///
/// In a VM it is a file below `/out`, which whoever submitted the job finds below `--output-dir` once the job ended. Elsewhere
/// it is a file in the directory `$DENALI_OUT`, or in `out` where there is no such variable; directories are made.
///
/// # Errors
/// For a name that no result can have: an absolute one, one with `..`, `\` or control characters, one of more than 255 bytes.
/// When the file cannot be made.
///
/// ```
/// use std::io::Write;
/// # let directory = std::env::temp_dir().join(format!("denali-program-{}", std::process::id()));
/// # std::env::set_current_dir({ std::fs::create_dir_all(&directory)?; &directory })?;
///
/// writeln!(denali_program::result("table.csv")?, "1,2,3")?;
/// assert!(denali_program::result("../table.csv").is_err());
/// # assert_eq!(std::fs::read_to_string(directory.join("out/table.csv"))?, "1,2,3\n");
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn result(name: &str) -> io::Result<File> {
    if !is_name(name) {
        let hint =
            format!("no result can be called {name:?}; give a relative path of at most {NAME_BYTES} bytes without ..");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, hint));
    }
    let path = directory().join(name);
    create(&path).map_err(|error| {
        let hint = format!("{}: {error}; set DENALI_OUT to a directory that can be written", path.display());
        io::Error::new(error.kind(), hint)
    })
}

fn directory() -> PathBuf {
    if inside() { "/out".into() } else { std::env::var_os("DENALI_OUT").unwrap_or_else(|| "out".into()).into() }
}

fn create(path: &Path) -> io::Result<File> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create(path)
}

fn is_name(name: &str) -> bool {
    let is_plain = |part| matches!(part, Component::Normal(_));
    let is_refused = |c: char| c.is_control() || c == '\\';
    (1..=NAME_BYTES).contains(&name.len()) && Path::new(name).components().all(is_plain) && !name.contains(is_refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_where_results_are() {
        for name in ["a", "a/b.csv", "...", "é", &"n".repeat(255)] {
            assert!(is_name(name), "{name:?}");
        }
        for name in ["", ".", "..", "/a", "../a", "a/../b", "a\\b", "a\nb", "\u{9b}", &"n".repeat(256)] {
            assert!(!is_name(name), "{name:?}");
        }
        let error = result("/etc/passwd").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("\"/etc/passwd\""), "{error}");
    }
}

//! The place where a program gets its job.

use crate::progress;
use std::{ffi::OsString, fs, io};

const DEVICE: &str = "/dev/denali/ready";

/// Says that the program is ready for a job, and gives the job's arguments, without the program's name.
///
/// Of a program that was packed with `--ready` the VM may be copied at this place: what comes before the call runs once for
/// many jobs, what comes after it once for each. So seed random numbers after it, and neither read standard input nor write to
/// standard output or standard error before it: a VM that has done so is not copied, nor one that took more than a second to
/// come here. Elsewhere, and in a VM without `--ready`, the call returns at once.
///
/// # Errors
/// When an argument is not UTF-8, which cannot be in a VM; or when the VM has no memory left for the arguments.
///
/// ```
/// let arguments = denali_program::ready()?;
/// assert_eq!(arguments, std::env::args().skip(1).collect::<Vec<_>>());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn ready() -> io::Result<Vec<String>> {
    match fs::read(DEVICE) {
        Ok(bytes) => {
            progress::begin();
            Ok(split(&bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::env::args_os().skip(1).map(text).collect(),
        Err(error) => {
            let hint = format!("{DEVICE}: {error}; give the VM more memory, or keep fewer files open");
            Err(io::Error::new(error.kind(), hint))
        }
    }
}

/// The arguments, each of which has a zero byte after it.
fn split(bytes: &[u8]) -> Vec<String> {
    bytes
        .split_inclusive(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(&word[..word.len() - 1]).into())
        .collect()
}

fn text(argument: OsString) -> io::Result<String> {
    argument.into_string().map_err(|argument| {
        let hint = format!("the argument {} is not UTF-8; jobs take text alone", argument.display());
        io::Error::new(io::ErrorKind::InvalidInput, hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn each_argument_ends_with_a_zero_byte() {
        assert_eq!(split(b""), [""; 0]);
        assert_eq!(split(b"\0"), [""]);
        assert_eq!(split("a b\0\0é\0".as_bytes()), ["a b", "", "é"]);
    }

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let error = text(OsString::from_vec(vec![b'a', 0xff])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("the argument a\u{fffd} is not UTF-8"), "{error}");
    }
}

//! What a Linux program can tell Denali: how far it is, that it is ready for a job, and which files are its results.
//!
//! The same program runs anywhere else, where these functions do the natural thing. They cost some tens of nanoseconds in a
//! VM, and nothing has to be set up before.
//!
//! | | in a Denali VM | elsewhere |
//! |---|---|---|
//! | [`ready`] | the VM may be copied here for many jobs; gives the job's arguments | gives the program's arguments |
//! | [`progress`] | is shown where the job was submitted | is drawn on standard error, if that is a terminal |
//! | [`result`] | a named result of the job | a file in `$DENALI_OUT`, else in `out` |
//! | [`inside`] | true | false |
//!
//! ```no_run
//! use std::io::Write;
//!
//! fn main() -> std::io::Result<()> {
//!     let squares: Vec<u64> = (0..1000).map(|number| number * number).collect(); // once for many jobs
//!     let arguments = denali_program::ready()?; // from here on, once for each
//!     let mut file = denali_program::result("squares.txt")?;
//!     for (place, word) in arguments.iter().enumerate() {
//!         denali_program::progress(place as f64 / arguments.len() as f64);
//!         let square = word.parse().ok().and_then(|number: usize| squares.get(number));
//!         writeln!(file, "{square:?}")?;
//!     }
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

mod progress;
mod ready;
mod result;

pub use progress::progress;
pub use ready::ready;
pub use result::result;

/// Whether the program runs in a Denali VM.
///
/// ```
/// assert!(!denali_program::inside(), "documentation is tested on the host");
/// ```
#[must_use]
pub fn inside() -> bool {
    std::path::Path::new("/dev/denali").exists()
}

//! Input and outputs, as the reader and writers of the crate `embedded-io`.

use crate::{cell::VmCell, channel};
use alloc::string::String;
use core::{convert::Infallible, fmt};
use denali_abi::job::{ERROR, FILE, OUTPUT};
use embedded_io::{ErrorType, Read, Write};

/// The job's input.
#[derive(Clone, Copy, Debug)]
pub struct Input;

impl Input {
    /// Reads without waiting: `None` while nothing is there, 0 at the end.
    #[must_use]
    pub fn try_read(buffer: &mut [u8]) -> Option<usize> {
        channel::try_read(buffer)
    }

    /// Whether a read would not wait: there are bytes, or it is the end.
    #[must_use]
    pub fn is_readable() -> bool {
        channel::is_readable()
    }
}

impl ErrorType for Input {
    type Error = Infallible;
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(channel::read(buffer))
    }
}

/// Bytes gathered before they are sent, so that formatted text goes out in few messages.
struct Buffer {
    kind: u8,
    bytes: [u8; 4096],
    used: usize,
}

static OUT: VmCell<Buffer> = VmCell::new(Buffer { kind: OUTPUT, bytes: [0; 4096], used: 0 });
static ERR: VmCell<Buffer> = VmCell::new(Buffer { kind: ERROR, bytes: [0; 4096], used: 0 });

impl Buffer {
    fn write(&mut self, bytes: &[u8]) {
        if self.used + bytes.len() > self.bytes.len() {
            self.flush();
        }
        if bytes.len() > self.bytes.len() {
            channel::send(self.kind, &[], bytes);
            return;
        }
        self.bytes[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
        if bytes.contains(&b'\n') {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.used > 0 {
            channel::send(self.kind, &[], &self.bytes[..self.used]);
            self.used = 0;
        }
    }
}

/// Sends what standard output and standard error still hold.
pub(crate) fn flush() {
    for buffer in [&OUT, &ERR] {
        // Borrowed only when a panic came in the middle of a write.
        if let Some(mut buffer) = buffer.try_borrow() {
            buffer.flush();
        }
    }
}

/// Standard output or standard error. Sent at each line's end, when 4 KiB have gathered, and at the job's end.
#[derive(Clone, Copy)]
pub struct Output(&'static VmCell<Buffer>);

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

impl Output {
    /// Standard output.
    #[must_use]
    pub fn standard() -> Self {
        Self(&OUT)
    }

    /// Standard error.
    #[must_use]
    pub fn error() -> Self {
        Self(&ERR)
    }
}

impl ErrorType for Output {
    type Error = Infallible;
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow().write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.0.borrow().flush();
        Ok(())
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.borrow().write(text.as_bytes());
        Ok(())
    }
}

/// A named output file.
#[derive(Debug)]
pub struct OutputFile {
    name: String,
}

impl OutputFile {
    /// The output file of this name, a relative path of at most 255 bytes: the VMM ends a VM that names one badly.
    #[must_use]
    pub fn create(name: &str) -> Self {
        channel::send(FILE, name.as_bytes(), &[]);
        Self { name: name.into() }
    }
}

impl ErrorType for OutputFile {
    type Error = Infallible;
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        channel::send(FILE, self.name.as_bytes(), bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl fmt::Write for OutputFile {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        channel::send(FILE, self.name.as_bytes(), text.as_bytes());
        Ok(())
    }
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {{
        // Writing to an output never fails.
        let _ = ::core::fmt::Write::write_fmt(&mut $crate::Output::standard(), ::core::format_args!($($argument)*));
    }};
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", ::core::format_args!($($argument)*)) };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! eprintln {
    ($($argument:tt)*) => {{
        // Writing to an output never fails.
        let _ = ::core::fmt::Write::write_fmt(
            &mut $crate::Output::error(),
            ::core::format_args!("{}\n", ::core::format_args!($($argument)*)),
        );
    }};
}

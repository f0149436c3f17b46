//! Streams of many jobs on one terminal: whole lines, each with the index of its job before it.

use super::failure;
use crate::client::{collect::Finished, open_job::Void};
use denali_protocol::job::Channel;
use std::{
    collections::HashMap,
    io::{self, Write},
};

/// Longest piece of a line that is held back, in bytes. A longer line is shown in pieces.
const LINE_BYTES: usize = 64 * 1024;

/// Puts out what jobs write, each channel on its stream.
#[derive(Default)]
pub(crate) struct Lines {
    prefixed: bool,
    partial: HashMap<(u32, bool), Vec<u8>>,
}

impl Lines {
    /// For one job, whose bytes go out as they are, or for an array, with prefixed lines.
    pub(crate) fn new(array: bool) -> Self {
        Self { prefixed: array, partial: HashMap::new() }
    }

    /// Puts out the next bytes of a job's channel. Files are not shown.
    pub(crate) fn put(&mut self, index: u32, channel: &Channel, bytes: &[u8]) -> anyhow::Result<()> {
        let error = match channel {
            Channel::Output => false,
            Channel::Error => true,
            Channel::File(_) => return Ok(()),
        };
        if !self.prefixed {
            return write(error, bytes);
        }
        let ready = self.ready(index, error, bytes);
        write(error, &ready)
    }

    /// The job ended: puts out what is left of it without a line end.
    pub(crate) fn end(&mut self, index: u32) -> anyhow::Result<()> {
        for error in [false, true] {
            if let Some(rest) = self.partial.remove(&(index, error)).filter(|rest| !rest.is_empty()) {
                write(error, &prefix(index, &rest))?;
            }
        }
        Ok(())
    }

    /// The job is run anew: what is left of the lost try is dropped.
    pub(crate) fn forget(&mut self, index: u32) {
        self.partial.retain(|(of, _), _| *of != index);
    }

    /// What was put out of this channel is void, and comes anew.
    pub(crate) fn void(&mut self, index: u32, channel: &Channel) {
        self.partial.remove(&(index, *channel == Channel::Error));
    }

    /// What was put out of this job is void: puts out what is kept of its result.
    pub(crate) fn anew(&mut self, finished: &Finished) -> anyhow::Result<()> {
        let index = finished.result.index;
        self.forget(index);
        self.put(index, &Channel::Output, &finished.stdout.bytes)?;
        self.put(index, &Channel::Error, &finished.stderr.bytes)
    }

    fn ready(&mut self, index: u32, error: bool, bytes: &[u8]) -> Vec<u8> {
        let partial = self.partial.entry((index, error)).or_default();
        let mut ready = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || partial.len() >= LINE_BYTES {
                ready.extend(prefix(index, partial));
                partial.clear();
            }
        }
        ready
    }
}

/// What to say before output that takes the place of what was put out.
pub(crate) fn void_note(index: u32, void: Void) -> String {
    let skipped = match void.skipped_bytes {
        0 => String::new(),
        bytes => format!(", and {bytes} bytes of its new output are left out"),
    };
    format!("denali: index {index} was run again: its output before this line is void{skipped}")
}

fn prefix(index: u32, line: &[u8]) -> Vec<u8> {
    let end: &[u8] = if line.ends_with(b"\n") { b"" } else { b"\n" };
    [format!("[{index}] ").as_bytes(), line, end].concat()
}

fn write(error: bool, bytes: &[u8]) -> anyhow::Result<()> {
    let mut stream: Box<dyn Write> = if error { Box::new(io::stderr().lock()) } else { Box::new(io::stdout().lock()) };
    stream.write_all(bytes).and_then(|()| stream.flush()).map_err(failure::writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_with_their_index() {
        let mut lines = Lines::new(true);
        assert_eq!(lines.ready(3, false, b"a\nb"), b"[3] a\n");
        assert_eq!(lines.ready(4, false, b"x\n"), b"[4] x\n");
        assert_eq!(lines.ready(3, false, b"c\n\n"), b"[3] bc\n[3] \n");
        assert_eq!(lines.ready(3, true, &vec![b'z'; LINE_BYTES]).len(), LINE_BYTES + 5);
    }
}

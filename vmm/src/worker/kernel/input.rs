//! The input of one run on its way to its VM: what came, and where more of it is read.

use crate::worker::source::Source;
use denali_protocol::job::Outcome;

/// Bytes of input that wait for a VM at the most, here and at its door: a few times what its ring holds.
pub(super) const UNREAD_BYTES: usize = 1 << 20;

/// The same below which more is read where there is more.
const INPUT_LOW: usize = UNREAD_BYTES / 4;

/// Input that came since a runner last looked.
#[derive(Default)]
pub(super) struct Mail {
    /// Bytes, and whether they are the last.
    pub(super) pieces: Vec<(Vec<u8>, bool)>,
    bytes: usize,
    /// Whether more came than is kept.
    pub(super) overflowed: bool,
    /// How the run ends because no more can come.
    pub(super) failed: Option<Outcome>,
}

impl Mail {
    pub(super) fn push(&mut self, bytes: Vec<u8>, end: bool) {
        // The space for many small ones counts too.
        self.bytes += bytes.len() + 64;
        self.overflowed |= self.bytes > UNREAD_BYTES;
        if !self.overflowed {
            self.pieces.push((bytes, end));
        }
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.failed.is_none()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Input that is read from a descriptor.
pub(super) enum Inflow {
    /// None, or no more.
    None,
    /// A maker has it. Whether there was reason meanwhile to read again.
    Away { again: bool },
    /// Whether someone is about to ask for more, or will when there is some.
    Here { source: Source, asked: bool },
}

impl Inflow {
    /// Takes the input, for a maker to read. Whoever has it already is told to do so again.
    pub(super) fn take(&mut self) -> Option<Source> {
        match std::mem::replace(self, Self::None) {
            Self::None => None,
            Self::Away { .. } => {
                *self = Self::Away { again: true };
                None
            }
            Self::Here { source, .. } => {
                *self = Self::Away { again: false };
                Some(source)
            }
        }
    }

    /// Gives it back. It `waits`, for more to come or for its VM to begin, or else is to be asked for more. Whether it is to be
    /// read again at once.
    pub(super) fn give(&mut self, source: Source, waits: bool) -> bool {
        let again = matches!(self, Self::Away { again: true });
        *self = Self::Here { source, asked: waits || again };
        again
    }

    /// Whether more is to be read for a VM that has so many bytes which it has not taken. Says so once; a maker that has the input
    /// reads again.
    pub(super) fn is_wanted(&mut self, held: usize) -> bool {
        match self {
            _ if held >= INPUT_LOW => false,
            Self::Here { asked, .. } => !std::mem::replace(asked, true),
            Self::Away { again } => {
                *again = true;
                false
            }
            Self::None => false,
        }
    }

    /// The descriptor, to be closed.
    pub(super) fn into_source(self) -> Option<Source> {
        match self {
            Self::Here { source, .. } => Some(source),
            Self::None | Self::Away { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;

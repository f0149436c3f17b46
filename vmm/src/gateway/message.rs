//! The messages of the job channel, see [`denali_abi::job`]. What comes from a guest is hostile.

use denali_abi::job::{ERROR, FILE, HEADER_BYTES, KIND, NAME_BYTES, OUTPUT, PROGRESS};
use denali_protocol::bundle::path;

/// A message from the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Standard output.
    Output(&'a [u8]),
    /// Standard error.
    Error(&'a [u8]),
    /// A named output file.
    File {
        /// Its name: a relative path.
        name: &'a str,
        /// Its next bytes.
        bytes: &'a [u8],
    },
    /// Progress.
    Progress {
        /// Thousandths done, at most 1000.
        permille: u16,
    },
}

/// A message that cannot be. The guest is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    /// Shorter than its header, its name or its payload must be.
    #[error("a message of {bytes} bytes is cut short")]
    Short {
        /// Bytes given.
        bytes: usize,
    },
    /// Not a kind that a guest sends.
    #[error("kind {kind} is none that a guest sends")]
    Kind {
        /// The kind given.
        kind: u8,
    },
    /// A name that is no relative path.
    #[error("output file: {reason}")]
    Name {
        /// What is wrong with it.
        reason: String,
    },
}

impl<'a> Message<'a> {
    /// Parses a datagram's payload.
    ///
    /// # Errors
    /// [`MessageError`] for anything that the job channel does not define.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, MessageError> {
        let short = MessageError::Short { bytes: datagram.len() };
        let Some((header, rest)) = datagram.split_at_checked(HEADER_BYTES) else { return Err(short) };
        match header[KIND] {
            OUTPUT => Ok(Self::Output(rest)),
            ERROR => Ok(Self::Error(rest)),
            FILE => {
                let length = u16::from_le_bytes([header[NAME_BYTES], header[NAME_BYTES + 1]]);
                let Some((name, bytes)) = rest.split_at_checked(length.into()) else { return Err(short) };
                let reason = |error: &dyn std::fmt::Display| MessageError::Name { reason: error.to_string() };
                let name = str::from_utf8(name).map_err(|e| reason(&e))?;
                path::check(name).map_err(|e| reason(&e))?;
                Ok(Self::File { name, bytes })
            }
            PROGRESS => match rest {
                [low, high, ..] => Ok(Self::Progress { permille: u16::from_le_bytes([*low, *high]).min(1000) }),
                _ => Err(short),
            },
            kind => Err(MessageError::Kind { kind }),
        }
    }
}

/// Appends the payload of an ARGUMENTS message.
pub(crate) fn put_arguments(frame: &mut Vec<u8>, arguments: &[String]) {
    frame.extend((arguments.len() as u32).to_le_bytes());
    for argument in arguments {
        frame.extend((argument.len() as u32).to_le_bytes());
        frame.extend(argument.as_bytes());
    }
}

#[cfg(test)]
mod tests;

//! Names: of a bundle, and of files in it. People and file systems meet them, so what could mislead either is refused.

use crate::limits::NAME_BYTES;

/// Why a text may not name a bundle.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LabelError {
    /// Empty.
    #[error("is empty")]
    Empty,
    /// Too long.
    #[error("has {bytes} bytes, more than the limit of {NAME_BYTES}; shorten it")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// NUL, a line end, an escape or another control character.
    #[error("holds the control character {character:?}; remove it")]
    Control {
        /// The character.
        character: char,
    },
}

/// Why a text may not name a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// What no name may be.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A backslash, which some systems read as `/`.
    #[error("holds a backslash; separate directories by /")]
    Backslash,
    /// Starts with `/`.
    #[error("is absolute; make it relative")]
    Absolute,
    /// An empty, `.` or `..` component.
    #[error("has the component {component:?}; write the path without it")]
    Component {
        /// The component.
        component: String,
    },
}

/// Checks a name for people: 1 to [`NAME_BYTES`] bytes, no control characters.
///
/// # Errors
/// [`LabelError`] names the rule broken.
pub fn check_label(text: &str) -> Result<(), LabelError> {
    if text.is_empty() {
        return Err(LabelError::Empty);
    }
    if text.len() > NAME_BYTES {
        return Err(LabelError::TooLong { bytes: text.len() });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(character) => Err(LabelError::Control { character }),
        None => Ok(()),
    }
}

/// Checks the name of a file: a label that is a relative path with `/`, which leads nowhere else.
///
/// # Errors
/// [`PathError`] names the rule broken.
pub fn check(text: &str) -> Result<(), PathError> {
    check_label(text)?;
    if text.contains('\\') {
        return Err(PathError::Backslash);
    }
    if text.starts_with('/') {
        return Err(PathError::Absolute);
    }
    match text.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some(component) => Err(PathError::Component { component: component.to_owned() }),
        None => Ok(()),
    }
}

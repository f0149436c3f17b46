//! Names: of a bundle, and of files in it. People and file systems meet them, so what could mislead either is refused.

use crate::limits::NAME_BYTES;
use std::collections::BTreeSet;

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
    /// NUL, a line end, an escape, a reversal of the reading direction or another control character.
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

/// Whether a character does something to the text around it instead of showing itself: control characters, and those
/// that change the reading direction (Unicode Standard Annex #9, explicit embeddings, overrides and isolates), by which
/// `gpj.exe` reads as `exe.jpg`.
#[must_use]
pub fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    match text.chars().find(|c| is_control(*c)) {
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

/// Whether `name` would be a file where one of `names` needs a directory, or a directory where one of them is a file:
/// together they cannot be unpacked into a tree.
#[must_use]
pub fn is_file_and_directory(names: &BTreeSet<String>, name: &str) -> bool {
    let below = format!("{name}/");
    name.match_indices('/').any(|(slash, _)| names.contains(&name[..slash]))
        || names.range(below.clone()..).next().is_some_and(|other| other.starts_with(&below))
}

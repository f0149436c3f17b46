//! How a program is started: a text of lines `key=value`.
//!
//! | key | value |
//! |---|---|
//! | `program` | absolute path of the program; once |
//! | `directory` | absolute path of its working directory; at most once, else `/` |
//! | `environment` | `NAME=value`, for one variable; any number |
//! | `argument` | an argument that comes before the job's; any number |
//! | `ready` | `yes`: the program asks for the job's arguments itself, by reading `/dev/denali/ready`; at most once |
//!
//! No value has a line end. What is not known is an error: it may matter.

use super::tree::PATH_MAX;
use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::fmt;

/// The bundle's file that holds the settings.
pub const SETTINGS: &str = ".linux";
/// The bundle's file that holds a tree of files, if there is one: a tar archive.
pub const TREE: &str = ".root.tar";

/// Longest text, in bytes.
const TEXT_MAX: usize = 64 << 10;

/// How a program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Absolute path of the program.
    pub program: String,
    /// Absolute path of the working directory.
    pub directory: String,
    /// Variables, `NAME=value`, each name once.
    pub environment: Vec<String>,
    /// Arguments before the job's.
    pub arguments: Vec<String>,
    /// Whether the program starts without the job's arguments, and asks for them when it is ready.
    pub ready: bool,
}

/// Why a text is none of settings. Whoever packed the bundle is at fault.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Longer than one may be.
    #[error("{bytes} bytes of settings, more than the limit of {TEXT_MAX}; give fewer variables")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("the settings are not UTF-8; pack the program again")]
    NotText,
    /// A line without `=`, or with a key that is not known.
    #[error("line {line} of the settings has no key that this version knows; pack the program with this version")]
    Key {
        /// Its number, from 1.
        line: usize,
    },
    /// Two lines say what only one may.
    #[error("line {line} of the settings says again what another says; pack the program again")]
    Twice {
        /// The number of the second, from 1.
        line: usize,
    },
    /// No program is named.
    #[error("the settings name no program; pack the program again")]
    NoProgram,
    /// Not an absolute path.
    #[error("{path:?} is no absolute path of at most {PATH_MAX} bytes; write it from / on")]
    Path {
        /// What was given.
        path: String,
    },
    /// An argument of more than one line.
    #[error("{argument:?} is no argument; leave line ends and zero bytes out")]
    Argument {
        /// What was given.
        argument: String,
    },
    /// Not a variable.
    #[error("{variable:?} is no variable; write NAME=VALUE, without line ends")]
    Variable {
        /// What was given.
        variable: String,
    },
}

impl Settings {
    /// Those of `program`, an absolute path, with nothing else said.
    ///
    /// # Errors
    /// [`SettingsError::Path`].
    pub fn new(program: &str) -> Result<Self, SettingsError> {
        let program = path(program)?;
        Ok(Self { program, directory: "/".to_owned(), environment: Vec::new(), arguments: Vec::new(), ready: false })
    }

    /// Reads the contents of [`SETTINGS`].
    ///
    /// # Errors
    /// [`SettingsError`] names the line or the value.
    pub fn parse(text: &[u8]) -> Result<Self, SettingsError> {
        if text.len() > TEXT_MAX {
            return Err(SettingsError::TooLong { bytes: text.len() });
        }
        let text = str::from_utf8(text).map_err(|_| SettingsError::NotText)?;
        let (mut program, mut directory, mut environment) = (None, None, Vec::new());
        let (mut arguments, mut ready) = (Vec::new(), false);
        for (line, text) in (1..).zip(text.split_terminator('\n')) {
            let twice = match text.split_once('=') {
                Some(("program", value)) => program.replace(path(value)?).is_some(),
                Some(("directory", value)) => directory.replace(path(value)?).is_some(),
                Some(("environment", value)) => {
                    environment.push(variable(value)?);
                    false
                }
                Some(("argument", value)) => {
                    arguments.push(argument(value)?);
                    false
                }
                Some(("ready", "yes")) => core::mem::replace(&mut ready, true),
                _ => return Err(SettingsError::Key { line }),
            };
            if twice {
                return Err(SettingsError::Twice { line });
            }
        }
        let program = program.ok_or(SettingsError::NoProgram)?;
        let directory = directory.unwrap_or_else(|| "/".to_owned());
        let mut settings = Self { directory, arguments, ready, ..Self::new(&program)? };
        environment.into_iter().for_each(|variable| settings.put(variable));
        Ok(settings)
    }

    /// Lets the working directory be `directory`.
    ///
    /// # Errors
    /// [`SettingsError::Path`].
    pub fn set_directory(&mut self, directory: &str) -> Result<(), SettingsError> {
        self.directory = path(directory)?;
        Ok(())
    }

    /// Adds an argument before the job's.
    ///
    /// # Errors
    /// [`SettingsError::Argument`].
    pub fn add_argument(&mut self, text: &str) -> Result<(), SettingsError> {
        self.arguments.push(argument(text)?);
        Ok(())
    }

    /// Sets a variable, `NAME=value`; a former value of it is forgotten.
    ///
    /// # Errors
    /// [`SettingsError::Variable`].
    pub fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        self.put(variable(text)?);
        Ok(())
    }

    fn put(&mut self, variable: String) {
        self.environment.retain(|other| name(other) != name(&variable));
        self.environment.push(variable);
    }

    /// Sets a variable, `NAME=value`, unless its name has a value.
    ///
    /// # Errors
    /// [`SettingsError::Variable`].
    pub fn set_default(&mut self, text: &str) -> Result<(), SettingsError> {
        let variable = variable(text)?;
        if self.environment.iter().all(|other| name(other) != name(&variable)) {
            self.environment.push(variable);
        }
        Ok(())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program={}\ndirectory={}", self.program, self.directory)?;
        self.environment.iter().try_for_each(|variable| writeln!(f, "environment={variable}"))?;
        self.arguments.iter().try_for_each(|argument| writeln!(f, "argument={argument}"))?;
        if self.ready { writeln!(f, "ready=yes") } else { Ok(()) }
    }
}

fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

fn path(text: &str) -> Result<String, SettingsError> {
    if text.starts_with('/') && text.len() <= PATH_MAX && !text.contains(['\0', '\n']) {
        return Ok(text.to_owned());
    }
    Err(SettingsError::Path { path: text.to_owned() })
}

fn argument(text: &str) -> Result<String, SettingsError> {
    if text.contains(['\0', '\n']) {
        return Err(SettingsError::Argument { argument: text.to_owned() });
    }
    Ok(text.to_owned())
}

fn variable(text: &str) -> Result<String, SettingsError> {
    if text.find('=').is_some_and(|end| end > 0) && !text.contains(['\0', '\n']) {
        return Ok(text.to_owned());
    }
    Err(SettingsError::Variable { variable: text.to_owned() })
}

#[cfg(test)]
mod tests;

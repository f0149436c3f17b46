//! Where a user's keys and known nodes are kept: `$DENALI_HOME`, else `$XDG_CONFIG_HOME/denali`, else
//! `~/.config/denali`.

use crate::key_file::{self, KeyFileError};
use denali_protocol::identity::KeyPair;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The directory of one user.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

/// No variable says where the user's files are. The operator is at fault.
#[derive(Debug, thiserror::Error)]
#[error("no place for keys: none of DENALI_HOME, XDG_CONFIG_HOME and HOME is set to an absolute path")]
pub(crate) struct HomelessError;

impl Home {
    /// The directory that the environment names. It need not exist yet.
    pub(crate) fn locate() -> Result<Self, HomelessError> {
        Self::from_variables(env::var_os("DENALI_HOME"), env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME"))
    }

    fn from_variables(
        denali: Option<OsString>,
        config: Option<OsString>,
        home: Option<OsString>,
    ) -> Result<Self, HomelessError> {
        // The XDG specification says that a relative path there is to be ignored.
        let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        let own = denali.filter(|value| !value.is_empty()).and_then(|value| std::path::absolute(value).ok());
        own.or_else(|| absolute(config).map(|path| path.join("denali")))
            .or_else(|| absolute(home).map(|path| path.join(".config/denali")))
            .map(Self)
            .ok_or(HomelessError)
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// The default key.
    pub(crate) fn key_path(&self) -> PathBuf {
        self.0.join("key")
    }

    /// The nodes that were reached before.
    pub(crate) fn known_nodes_path(&self) -> PathBuf {
        self.0.join("known_nodes")
    }

    /// The default key, made now if there is none. Two commands at once end up with the same one.
    pub(crate) fn key(&self) -> Result<KeyPair, KeyFileError> {
        let path = self.key_path();
        match key_file::create(&path) {
            Err(KeyFileError::Exists { .. }) => key_file::load(&path),
            made => made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(denali: Option<&str>, config: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
        Home::from_variables(denali.map(Into::into), config.map(Into::into), home.map(Into::into)).ok().map(|h| h.0)
    }

    #[test]
    fn variables_are_tried_in_order() {
        assert_eq!(located(Some("/d"), Some("/c"), Some("/h")), Some("/d".into()));
        assert_eq!(located(None, Some("/c"), Some("/h")), Some("/c/denali".into()));
        assert_eq!(located(Some(""), Some("relative"), Some("/h")), Some("/h/.config/denali".into()));
        assert_eq!(located(None, None, None), None);
    }

    #[test]
    fn the_default_key_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home(directory.path().join("new"));
        assert_eq!(home.key().unwrap().public(), home.key().unwrap().public());
    }
}

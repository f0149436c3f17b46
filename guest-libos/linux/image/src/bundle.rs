//! What the bundle says of the program, and the files that it brings.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use denali_guest::Job;
use denali_linux::bundle::{SETTINGS, Settings, TREE, Tree};

/// The bundle, as the program will see it.
pub struct Bundle {
    /// How the program is started.
    pub settings: Settings,
    /// Files by their paths below the root.
    pub files: Vec<(&'static str, &'static [u8])>,
    /// The tree that the bundle has besides; empty if there is none.
    pub tree: Tree<&'static [u8]>,
}

impl Bundle {
    /// Reads it; an error is for whoever packed it.
    pub fn read() -> Result<Self, String> {
        let text = Job::bundle_file(SETTINGS).ok_or("the bundle does not say which of its files is the program")?;
        let settings = Settings::parse(text).map_err(|error| error.to_string())?;
        let tree = Job::bundle_file(TREE).map_or_else(|| Ok(Tree::default()), Tree::from_tar);
        let tree = tree.map_err(|error| format!("{TREE}: {error}"))?;
        let own = |name: &str| name == SETTINGS || name == TREE;
        Ok(Self { settings, files: Job::bundle_files().filter(|(name, _)| !own(name)).collect(), tree })
    }

    /// The contents of the file at an absolute path.
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        let plain = self.files.iter().find(|(name, _)| path.strip_prefix('/') == Some(name));
        plain.map(|(_, bytes)| *bytes).or_else(|| self.tree.file(path.as_bytes()).copied())
    }
}

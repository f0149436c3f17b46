//! What a bundle holds for a program: [`Settings`] that say how to start it, and the [`Tree`] of its files.
//!
//! Written by whoever packs, read by the image; both are here, so that they agree. What is read is hostile.

mod archive;
mod resolve;
mod settings;
mod tree;

pub use settings::{SETTINGS, Settings, SettingsError, TREE};
pub use tree::{Entry, Node, Tree, TreeError};

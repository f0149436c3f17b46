//! Spools, in memory and in files.

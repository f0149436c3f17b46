//! Workers that misbehave.

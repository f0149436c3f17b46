//! What people and their files say: names of nodes, known nodes, keys, quantities, jobs, indices.

use super::NodeName;
use crate::{cli::units, client::known_nodes, key_file};
use denali_protocol::{
    bundle::path,
    digest::Digest,
    identity::PublicKey,
    job::{Indices, JobId},
    limits,
};
use std::path::Path;

/// Reads `data` as each kind of text. What is accepted says the same when it is written again, and keeps to its bounds.
pub fn names(data: &[u8]) {
    if let Some((number, _)) = data.split_first_chunk::<8>() {
        let number = u64::from_le_bytes(*number);
        assert!(
            ![units::show_bytes(number), units::show_micros(number), units::show_time(number)].contains(&String::new())
        );
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<NodeName>() {
        assert!(name.address.contains(':') && !name.address.contains(char::is_whitespace));
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    let address = text.split([' ', '\n']).next().unwrap_or_default();
    match known_nodes::find(text, Path::new("known"), address) {
        Ok(Some(key)) => assert!(text.contains(&key.to_string()) || text.to_lowercase().contains(&key.to_string())),
        Ok(None) => {}
        Err(error) => assert!(error.to_string().starts_with("known nodes known: line ")),
    }
    assert!(key_file::parse(text).is_none() || text.contains("denali-key-1 "));
    if let Ok(duration) = units::duration(text) {
        assert!(u128::from(units::micros(duration)) <= duration.as_micros() && !text.is_empty());
    }
    assert!(units::bytes(text).is_err() || text.starts_with(|first: char| first.is_ascii_digit()));
    if let Ok(job) = text.parse::<JobId>() {
        assert!(job.as_str() == text && text.len() <= 64 && !text.contains('\0'));
    }
    if let Ok(indices) = text.parse::<Indices>() {
        assert!(indices.first <= indices.last && (1..=limits::ARRAY_JOBS).contains(&indices.count()));
        assert_eq!(format!("{}-{}", indices.first, indices.last).parse(), Ok(indices));
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    for error in [path::check(text).err().map(|e| e.to_string()), path::check_label(text).err().map(|e| e.to_string())]
    {
        assert_ne!(error.as_deref(), Some(""));
    }
    if path::check(text).is_ok() {
        assert!(text.len() <= limits::NAME_BYTES && !text.contains(|c: char| c.is_control() || c == '\\'));
        assert!(text.split('/').all(|part| !["", ".", ".."].contains(&part)));
    }
}

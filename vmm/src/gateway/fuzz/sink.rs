//! Where output arrives, with the bounds that hold for it.

use crate::gateway::Sink;
use denali_protocol::{
    bundle::path,
    job::Channel,
    limits::{FILES, OUTPUT_PIECE_BYTES},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// What arrived.
#[derive(Default)]
pub(super) struct Arrived {
    pub(super) bytes: BTreeMap<Channel, Vec<u8>>,
    pub(super) permille: u16,
    total: u64,
    limit: u64,
    busy: bool,
}

#[derive(Clone)]
pub(super) struct Kept(Arc<Mutex<Arrived>>);

impl Kept {
    pub(super) fn new(limit: u64) -> Self {
        Self(Arc::new(Mutex::new(Arrived { limit, ..Arrived::default() })))
    }

    pub(super) fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().expect("no one panicked")
    }

    /// Keeps up, or no longer does.
    pub(super) fn toggle(&self) {
        let mut arrived = self.arrived();
        arrived.busy = !arrived.busy;
    }

    pub(super) fn check(&self) {
        let arrived = self.arrived();
        assert!(arrived.total <= arrived.limit && arrived.bytes.len() <= FILES + 2);
    }
}

impl Sink for Kept {
    fn output(&mut self, channel: Channel, bytes: &[u8]) {
        let mut arrived = self.arrived();
        assert!(bytes.len() <= OUTPUT_PIECE_BYTES);
        match &channel {
            Channel::File(name) if !arrived.bytes.contains_key(&channel) => {
                assert_eq!(path::check(name), Ok(()));
                let within = |file: &str, directory: &str| file.starts_with(&format!("{directory}/"));
                let clash = |other: &Channel| matches!(other, Channel::File(o) if within(name, o) || within(o, name));
                assert!(bytes.is_empty() && !arrived.bytes.keys().any(clash));
            }
            Channel::File(_) => {}
            Channel::Output | Channel::Error => assert!(!bytes.is_empty()),
        }
        arrived.total += bytes.len() as u64;
        arrived.bytes.entry(channel).or_default().extend_from_slice(bytes);
    }

    fn progress(&mut self, permille: u16) {
        let mut arrived = self.arrived();
        assert!(arrived.permille < permille && permille <= 1000);
        arrived.permille = permille;
    }

    fn keeps_up(&self) -> bool {
        !self.arrived().busy
    }
}

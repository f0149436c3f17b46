//! What arrived of a job that has not ended, and what was passed on of it. No I/O.
//!
//! The two differ while a job is followed anew: its events come again from the start, and what was passed on is not
//! passed on twice. Should the events be other ones, they are of a new try, and what was passed on is void.

use super::check::{Lie, Tally};
use denali_protocol::{bundle::path, job::Channel};
use std::{collections::BTreeMap, mem::take};

/// Most bytes of standard output, and of standard error, that are kept of each job.
pub(crate) const KEPT_BYTES: usize = 64 * 1024;

/// What a channel costs of the budget, in bytes, before its name and what is kept of it.
const CHANNEL_BYTES: usize = 1024;

/// The start of a channel's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// At most [`KEPT_BYTES`].
    pub(crate) bytes: Vec<u8>,
    /// Whether more came.
    pub(crate) truncated: bool,
}

impl Kept {
    /// Keeps what fits of `bytes`.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.bytes.len();
        let kept = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(kept);
        self.truncated |= kept.len() < bytes.len();
    }
}

/// Output that was passed on turned out to be of a lost try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Void {
    /// Bytes of the new try that are not passed on again: more was there than is kept.
    pub(crate) skipped_bytes: u64,
}

/// What a piece of output brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Bytes to pass on.
    pub(super) bytes: Vec<u8>,
    /// Set if they are the start of another try than the one that was passed on.
    pub(super) void: Option<Void>,
}

/// A job that has not ended.
#[derive(Default)]
pub(super) struct OpenJob {
    arrived: BTreeMap<Channel, Tally>,
    /// What was passed on. Ahead of `arrived` while events are sent again.
    shown: BTreeMap<Channel, Tally>,
    /// The start of standard output.
    pub(super) stdout: Kept,
    /// The start of standard error.
    pub(super) stderr: Kept,
    /// What the channels in `shown` cost of the budget, which are also all in `arrived`.
    channels_bytes: usize,
    /// Followed anew since the last event of this job.
    pub(super) replayed: bool,
}

impl OpenJob {
    /// The bytes that arrived.
    pub(super) fn arrived(&self) -> &BTreeMap<Channel, Tally> {
        &self.arrived
    }

    /// What it costs of the budget.
    pub(super) fn cost_bytes(&self) -> usize {
        self.channels_bytes + self.stdout.bytes.len() + self.stderr.bytes.len()
    }

    /// Drops what arrived, but not the memory of what was passed on. Gives what that frees of the budget.
    pub(super) fn forget(&mut self) -> usize {
        self.arrived.clear();
        take(&mut self.stdout).bytes.len() + take(&mut self.stderr).bytes.len()
    }

    /// Drops the memory of what was passed on. Says whether there was any, and what that frees of the budget.
    pub(super) fn start_anew(&mut self) -> (bool, usize) {
        (!take(&mut self.shown).is_empty(), take(&mut self.channels_bytes))
    }

    /// Keeps what it needs of a piece of output. Gives what that costs of the budget.
    pub(super) fn keep(&mut self, channel: &Channel, bytes: &[u8]) -> Result<usize, Lie> {
        let before_bytes = self.cost_bytes();
        let name_bytes = match channel {
            Channel::File(name) => {
                path::check(name).map_err(|fault| Lie::Name { name: name.chars().take(80).collect(), fault })?;
                name.len()
            }
            Channel::Output | Channel::Error => 0,
        };
        if !self.shown.contains_key(channel) {
            // The name is held twice.
            self.channels_bytes += CHANNEL_BYTES + 2 * name_bytes;
        }
        match channel {
            Channel::Output => self.stdout.add(bytes),
            Channel::Error => self.stderr.add(bytes),
            Channel::File(_) => {}
        }
        Ok(self.cost_bytes() - before_bytes)
    }

    /// Counts a piece of output that was kept. Gives what of it was not passed on before.
    pub(super) fn arrive(&mut self, channel: &Channel, bytes: &[u8]) -> News {
        let arrived = self.arrived.entry(channel.clone()).or_default();
        let shown = self.shown.entry(channel.clone()).or_default();
        let old_bytes = usize::try_from(shown.bytes - arrived.bytes).unwrap_or(usize::MAX).min(bytes.len());
        let (old, new) = bytes.split_at(old_bytes);
        arrived.add(old);
        let caught_up = arrived.bytes == shown.bytes;
        let diverged = caught_up && old_bytes > 0 && arrived.digest() != shown.digest();
        arrived.add(new);
        if !diverged {
            shown.add(new);
            return News { bytes: new.to_vec(), void: None };
        }
        *shown = arrived.clone();
        let arrived_bytes = arrived.bytes;
        let bytes = match channel {
            Channel::Output => self.stdout.bytes.clone(),
            Channel::Error => self.stderr.bytes.clone(),
            Channel::File(_) => Vec::new(),
        };
        let void = Some(Void { skipped_bytes: arrived_bytes - bytes.len() as u64 });
        News { bytes, void }
    }

    /// At the end: whether more was passed on of standard output or standard error than there is.
    pub(super) fn leftover(&self) -> Option<Void> {
        let bytes = |tallies: &BTreeMap<_, Tally>, channel| tallies.get(channel).map_or(0, |tally| tally.bytes);
        let streams = [(&Channel::Output, &self.stdout), (&Channel::Error, &self.stderr)];
        if !streams.iter().any(|(channel, _)| bytes(&self.shown, channel) > bytes(&self.arrived, channel)) {
            return None;
        }
        let skipped = streams.iter().map(|(channel, kept)| bytes(&self.arrived, channel) - kept.bytes.len() as u64);
        Some(Void { skipped_bytes: skipped.sum() })
    }
}

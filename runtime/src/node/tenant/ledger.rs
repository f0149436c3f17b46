//! What clients have used since the node's start. Bounded: of the many that come and go, those that were here last are
//! known one by one.

use denali_protocol::identity::PublicKey;
use std::collections::HashMap;

/// Clients that are known one by one.
const CLIENTS: usize = 1024;

/// What one client has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Used {
    /// CPU time, in microseconds.
    pub(crate) cpu_us: u64,
    /// Jobs that ended.
    pub(crate) ended: u64,
    /// Of these, such as were lost.
    pub(crate) lost: u64,
}

impl Used {
    /// Adds to it.
    pub(crate) fn add(&mut self, more: Self) {
        self.cpu_us = self.cpu_us.saturating_add(more.cpu_us);
        self.ended = self.ended.saturating_add(more.ended);
        self.lost = self.lost.saturating_add(more.lost);
    }
}

/// What all clients have used.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Each with the time of its last entry.
    clients: HashMap<PublicKey, (u64, Used)>,
    all: Used,
    time: u64,
}

impl Ledger {
    /// A client used this.
    pub(crate) fn enter(&mut self, client: PublicKey, used: Used) {
        self.all.add(used);
        self.time += 1;
        if self.clients.len() >= CLIENTS && !self.clients.contains_key(&client) {
            let oldest = self.clients.iter().min_by_key(|(_, (time, _))| *time).map(|(client, _)| *client);
            oldest.and_then(|oldest| self.clients.remove(&oldest));
        }
        let (time, sum) = self.clients.entry(client).or_default();
        *time = self.time;
        sum.add(used);
    }

    /// What all clients used, also those that are not known any more.
    pub(crate) fn all(&self) -> Used {
        self.all
    }

    /// What each one used that is known.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (PublicKey, Used)> {
        self.clients.iter().map(|(client, (_, used))| (*client, *used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_come_and_go_take_no_room_and_stay_in_the_sum() {
        let client = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            PublicKey(key)
        };
        let mut ledger = Ledger::default();
        let used = Used { cpu_us: 2, ended: 1, lost: 0 };
        for n in 0..3000 {
            ledger.enter(client(n), used);
            ledger.enter(client(0), used);
        }
        assert_eq!(ledger.clients().count(), CLIENTS);
        assert_eq!(ledger.all(), Used { cpu_us: 12_000, ended: 6000, lost: 0 });
        let of = |n| ledger.clients().find(|(known, _)| *known == client(n)).map(|(_, used)| used.ended);
        assert_eq!((of(0), of(1), of(2999)), (Some(3001), None, Some(1)));
    }
}

//! What happened between two looks at a node.

use denali_protocol::{
    identity::PublicKey,
    wire::top::{Durations, Share, Top},
};
use std::collections::VecDeque;

/// Looks that latencies are taken over: few jobs a second shall still show some.
const WINDOW: usize = 10;

/// The last looks, of which there is at least one.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The oldest is first. A node that has not started yet is the first of all.
    looks: VecDeque<Top>,
}

impl History {
    /// Another look.
    pub(super) fn push(&mut self, top: Top) {
        // Counts that fall are those of a node that was started again.
        if self.looks.back().is_none_or(|last| last.uptime_us > top.uptime_us) {
            self.looks.clear();
            self.looks.push_back(Top::default());
        }
        // The mean since the start is good enough only as long as there is nothing else.
        if self.looks.len() > WINDOW || (self.looks.len() == 2 && self.looks[0].uptime_us == 0) {
            self.looks.pop_front();
        }
        self.looks.push_back(top);
    }

    /// Whether all there is yet is the mean since the node's start.
    pub(super) fn is_mean(&self) -> bool {
        self.looks.front().is_none_or(|first| first.uptime_us == 0)
    }

    /// The last look. Nothing where there was none.
    pub(super) fn last(&self) -> Option<&Top> {
        self.looks.back()
    }

    fn before_last(&self) -> Option<&Top> {
        self.looks.iter().rev().nth(1)
    }

    /// How often something happened, a second.
    pub(super) fn per_s(&self, count: impl Fn(&Top) -> u64) -> f64 {
        let (Some(last), Some(before)) = (self.last(), self.before_last()) else { return 0.0 };
        let us = last.uptime_us.saturating_sub(before.uptime_us).max(1);
        count(last).saturating_sub(count(before)) as f64 * 1e6 / us as f64
    }

    /// CPUs that all clients had.
    pub(super) fn cpus(&self) -> f64 {
        self.per_s(|top| top.all.cpu_us) / 1e6
    }

    /// CPUs that one client had.
    pub(super) fn cpus_of(&self, client: PublicKey) -> f64 {
        let of = |top: &Top| {
            let listed = top.by_client.iter().flatten().find(|(key, _)| *key == client);
            listed.map_or(0, |(_, share)| share.cpu_us)
        };
        self.per_s(of) / 1e6
    }

    /// CPUs that the client who looks had.
    pub(super) fn own_cpus(&self) -> f64 {
        self.per_s(|top| top.own.cpu_us) / 1e6
    }

    /// The durations of the last looks.
    pub(super) fn durations(&self, of: impl Fn(&Top) -> &Durations) -> Durations {
        match (self.looks.front(), self.last()) {
            (Some(first), Some(last)) => of(last).since(of(first)),
            _ => Durations::default(),
        }
    }

    /// The clients that the node tells of, each with the CPUs that it had; the one who looks, where it is told of no other.
    pub(super) fn clients(&self, own: PublicKey) -> Vec<(PublicKey, Share, f64)> {
        let Some(last) = self.last() else { return Vec::new() };
        let mut clients: Vec<_> = match &last.by_client {
            Some(clients) => clients.iter().map(|(key, share)| (*key, *share, self.cpus_of(*key))).collect(),
            None => vec![(own, last.own, self.own_cpus())],
        };
        // Those that use most now come first; it shall not flicker.
        clients.sort_by_key(|(_, _, cpus)| std::cmp::Reverse((cpus * 20.0) as u64));
        clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(uptime_s: u64, cpu_s: u64, idle_exits: u64) -> Top {
        let mut top = Top { uptime_us: uptime_s * 1_000_000, ..Top::default() };
        top.all.cpu_us = cpu_s * 1_000_000;
        top.exits.idle = idle_exits;
        top.start.0[4] = idle_exits;
        top
    }

    #[test]
    fn rates_are_means_first_and_those_between_looks_then() {
        let mut history = History::default();
        history.push(top(100, 50, 1000));
        assert!(history.is_mean());
        assert_eq!((history.cpus(), history.per_s(|top| top.exits.idle)), (0.5, 10.0));
        history.push(top(102, 54, 1100));
        assert!(!history.is_mean());
        assert_eq!((history.cpus(), history.per_s(|top| top.exits.idle)), (2.0, 50.0));
        assert_eq!(history.durations(|top| &top.start).count(), 100);
        for n in 0..50 {
            history.push(top(103 + n, 54, 1101 + n));
        }
        assert_eq!((history.cpus(), history.per_s(|top| top.exits.idle)), (0.0, 1.0));
        assert_eq!(history.durations(|top| &top.start).count(), WINDOW as u64);
        // The node was started again.
        history.push(top(10, 5, 30));
        assert!(history.is_mean());
        assert_eq!((history.cpus(), history.per_s(|top| top.exits.idle)), (0.5, 3.0));
    }

    #[test]
    fn any_numbers_can_be_looked_at() {
        let mut history = History::default();
        history.push(Top { uptime_us: u64::MAX, ..top(0, 0, u64::MAX) });
        history.push(Top { uptime_us: u64::MAX, ..top(0, 0, 0) });
        assert_eq!(history.per_s(|top| top.exits.idle), 0.0);
    }
}

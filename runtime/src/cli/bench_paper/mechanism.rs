//! The mechanisms that the paper switches off to see what they are worth.

/// A mechanism.
pub(super) struct Mechanism {
    /// What it is called.
    pub(super) name: &'static str,
    /// What the sample `paper-bench` calls being without it.
    pub(super) without: &'static str,
    /// What the paper measured.
    pub(super) paper: &'static str,
}

/// All of them.
pub(super) const ALL: [Mechanism; 3] = [
    Mechanism {
        name: "batched interrupts",
        without: "batching",
        paper: "up to 30 % more throughput with up to 800 VMs",
    },
    Mechanism { name: "idle-with-timeout", without: "idling", paper: "without it, less than half the throughput" },
    Mechanism {
        name: "one-kick NIC",
        without: "one-kick",
        paper: "with 10 to 12 accesses, 10.8 µs more to receive and 13.5 µs more to send (1.7 GHz Pentium 4)",
    },
];

/// What the sample calls it to have all of them.
pub(super) const ALL_ON: &str = "nothing";

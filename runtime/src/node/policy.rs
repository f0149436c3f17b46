//! The volunteer's policy: who may run what here. Read once at start from a TOML file; `docs/policy.md` describes it.

mod value;

use denali_protocol::{
    bundle::Manifest,
    identity::PublicKey,
    job::Limits,
    wire::message::{Refusal, RefusalKind},
};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// VMs in one worker process: making one takes longer the more of them there are, and each takes two descriptors.
const VMS_PER_WORKER: u32 = 200;

/// Why a policy file is of no use. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// It cannot be read.
    #[error("policy file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its content is not a policy. The parser's message names line, key and what is allowed.
    #[error("policy file {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// One signer has two entries.
    #[error("policy file {}: signer {key} has two entries; keep one", path.display())]
    SignerTwice {
        /// The file.
        path: PathBuf,
        /// The signer.
        key: PublicKey,
    },
    /// Too little disk for VMs that idle.
    #[error("policy file {}: a `swap` of {bytes} bytes is too little to be divided; give 0, or {least} or more", path.display())]
    Swap {
        /// The file.
        path: PathBuf,
        /// The bytes that it gives.
        bytes: u64,
        /// What would do.
        least: u64,
    },
}

/// The least disk for idle VMs that is of use to a worker, in bytes.
const SWAP_PART_BYTES: u64 = 1 << 20;

/// The whole policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// What this machine gives.
    pub(crate) node: NodeShare,
    /// Who may ask.
    pub(crate) clients: Clients,
    /// Bundles that nobody signed.
    pub(crate) unsigned: Unsigned,
    /// Bundles that one of these signed.
    pub(crate) signer: Vec<Signer>,
}

/// What the volunteer's machine gives.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeShare {
    /// VMs at once, for all clients together.
    #[serde(deserialize_with = "value::slots")]
    pub(crate) slots: u32,
    /// Worker processes at once; at least one a slot.
    #[serde(deserialize_with = "value::slots")]
    pub(crate) workers: u32,
    /// VMs at once in one worker process.
    #[serde(deserialize_with = "value::worker_vms")]
    pub(crate) worker_vms: u32,
    /// CPUs that run VMs, of all workers together.
    #[serde(deserialize_with = "value::cpus")]
    pub(crate) cpus: u32,
    /// Bytes of VMs' own memory, of all workers together. VMs that idle are swapped out beyond it.
    #[serde(deserialize_with = "value::bytes")]
    pub(crate) memory: u64,
    /// Bytes of disk for VMs that idle; 0 for none.
    #[serde(deserialize_with = "value::bytes")]
    pub(crate) swap: u64,
    /// Where that is; absent for the data directory.
    pub(crate) swap_directory: Option<PathBuf>,
    /// How much of a jail workers must have.
    pub(crate) jail: Jail,
    /// Whether a job may run in a VM in which an earlier job of the same client and bundle ran, put back to its start.
    pub(crate) reimage: bool,
    /// Jobs that wait or run, for all clients together.
    #[serde(deserialize_with = "value::jobs")]
    pub(crate) queue_jobs: u32,
    /// Bytes of bundles, inputs and results on disk.
    #[serde(deserialize_with = "value::bytes")]
    pub(crate) store: u64,
    /// How long results are kept after their job or array has ended, and bundles after their last use.
    #[serde(deserialize_with = "value::duration")]
    pub(crate) results_expire: Duration,
}

impl Default for NodeShare {
    fn default() -> Self {
        let slots = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        Self {
            slots,
            workers: slots.saturating_add(4),
            worker_vms: VMS_PER_WORKER,
            cpus: slots,
            memory: host_memory() / 2,
            swap: 0,
            swap_directory: None,
            jail: Jail::Partial,
            reimage: true,
            queue_jobs: 1_000_000,
            store: 20 << 30,
            results_expire: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl NodeShare {
    /// Workers that get disk for VMs that idle: as many as all slots need, and a few for other clients.
    pub(crate) fn swap_workers(&self) -> u32 {
        self.slots.div_ceil(self.worker_vms.max(1)).saturating_add(4)
    }
}

/// Bytes of memory that this host has.
pub(crate) fn host_memory() -> u64 {
    let system = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "narrower on other architectures")]
    u64::from(system.totalram).saturating_mul(u64::from(system.mem_unit))
}

/// How much of a jail workers must have. Seccomp and no privileges they have in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Jail {
    /// What this host gives.
    #[default]
    Partial,
    /// All of it but a control group: no worker starts where a measure is refused.
    Whole,
    /// All of it, and a control group with limits.
    Limited,
}

/// Who may ask, and for how much at once.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Clients {
    /// The only clients that are served; absent for any.
    pub(crate) allow: Option<Vec<value::Key>>,
    /// Those that are told of all others (`denali top`), beside whoever has the node's own key.
    pub(crate) operators: Vec<value::Key>,
    /// Jobs of one client that wait or run.
    #[serde(deserialize_with = "value::jobs")]
    pub(crate) queue_jobs: u32,
}

impl Default for Clients {
    fn default() -> Self {
        Self { allow: None, operators: Vec::new(), queue_jobs: 100_000 }
    }
}

/// What is granted to a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The most that one of its jobs may use.
    pub(crate) limits: Limits,
    /// VMs of one client at once.
    pub(crate) vms: u32,
    /// Jobs of one client that may wait or run when another is added under this grant.
    pub(crate) queue_jobs: u32,
}

/// What is granted to bundles that nobody signed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Unsigned {
    /// Whether they run at all.
    pub(crate) allow: bool,
    /// Memory of a VM.
    #[serde(deserialize_with = "value::memory")]
    pub(crate) memory: u64,
    /// CPU time of a job.
    #[serde(deserialize_with = "value::job_time")]
    pub(crate) cpu_time: Duration,
    /// Wall time of a job.
    #[serde(deserialize_with = "value::job_time")]
    pub(crate) wall_time: Duration,
    /// Output of a job.
    #[serde(deserialize_with = "value::bytes")]
    pub(crate) output: u64,
    /// VMs of one client at once; absent for all slots but one, so that a stranger never has the whole machine.
    #[serde(deserialize_with = "value::some_slots")]
    pub(crate) vms: Option<u32>,
    /// Jobs of one client that wait or run, beyond which it may add no unsigned ones.
    #[serde(deserialize_with = "value::jobs")]
    pub(crate) queue_jobs: u32,
}

impl Default for Unsigned {
    fn default() -> Self {
        Self {
            allow: true,
            memory: 256 << 20,
            cpu_time: Duration::from_secs(10),
            wall_time: Duration::from_secs(60),
            output: 4 << 20,
            vms: None,
            queue_jobs: 10_000,
        }
    }
}

/// What is granted to bundles of one signer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signer {
    /// The signer's public key.
    pub(crate) key: value::Key,
    /// A name for people.
    #[serde(default)]
    pub(crate) name: String,
    /// Memory of a VM.
    #[serde(default = "signer_memory", deserialize_with = "value::memory")]
    pub(crate) memory: u64,
    /// CPU time of a job.
    #[serde(default = "signer_time", deserialize_with = "value::job_time")]
    pub(crate) cpu_time: Duration,
    /// Wall time of a job.
    #[serde(default = "signer_time", deserialize_with = "value::job_time")]
    pub(crate) wall_time: Duration,
    /// Output of a job.
    #[serde(default = "signer_output", deserialize_with = "value::bytes")]
    pub(crate) output: u64,
    /// VMs of one client at once; absent for no bound but the slots.
    #[serde(default, deserialize_with = "value::some_slots")]
    pub(crate) vms: Option<u32>,
}

fn signer_memory() -> u64 {
    1 << 30
}

fn signer_time() -> Duration {
    Duration::from_secs(3600)
}

fn signer_output() -> u64 {
    256 << 20
}

fn grant(memory: u64, cpu: Duration, wall: Duration, output: u64, vms: u32, queue_jobs: u32) -> Grant {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Grant {
        limits: Limits {
            memory_bytes: memory,
            cpu_time_us: micros(cpu),
            wall_time_us: micros(wall),
            output_bytes: output,
        },
        vms,
        queue_jobs,
    }
}

impl Policy {
    /// Reads the policy in `path`.
    ///
    /// # Errors
    /// [`PolicyError`], which names the file, the line and what would be allowed there.
    pub(crate) fn read(path: &Path) -> Result<Self, PolicyError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text)
            .map_err(|source| PolicyError::Parse { path: path.to_owned(), source: source.into() })?;
        let (bytes, least) = (policy.node.swap, u64::from(policy.node.swap_workers()) * SWAP_PART_BYTES);
        if (1..least).contains(&bytes) {
            return Err(PolicyError::Swap { path: path.to_owned(), bytes, least });
        }
        let mut keys: Vec<PublicKey> = policy.signer.iter().map(|signer| signer.key.0).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(PolicyError::SignerTwice { path: path.to_owned(), key: pair[0] }),
            None => Ok(policy),
        }
    }

    /// Whether this client is served at all.
    pub(crate) fn admit(&self, client: PublicKey) -> Result<(), Refusal> {
        match &self.clients.allow {
            Some(allowed) if !allowed.iter().any(|key| key.0 == client) => Err(denied(format!(
                "client {client} is not on this node's list; its operator can add the key to `allow` under [clients]"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the policy makes this client an operator.
    pub(crate) fn is_operator(&self, client: PublicKey) -> bool {
        self.clients.operators.iter().any(|key| key.0 == client)
    }

    /// The grant for bundles that nobody signed; absent where they are denied.
    pub(crate) fn unsigned_grant(&self) -> Option<Grant> {
        let u = &self.unsigned;
        let vms = u.vms.unwrap_or_else(|| self.node.slots.saturating_sub(1).max(1));
        let queue_jobs = u.queue_jobs.min(self.clients.queue_jobs);
        u.allow.then(|| grant(u.memory, u.cpu_time, u.wall_time, u.output, vms, queue_jobs))
    }

    /// The grants that a bundle with valid signatures of `signers` may choose from; never none.
    pub(crate) fn grants(&self, signers: &[PublicKey]) -> Result<Vec<Grant>, Refusal> {
        let known: Vec<Grant> = (self.signer.iter().filter(|entry| signers.contains(&entry.key.0)))
            .map(|s| {
                let vms = s.vms.unwrap_or(u32::MAX);
                grant(s.memory, s.cpu_time, s.wall_time, s.output, vms, self.clients.queue_jobs)
            })
            .collect();
        match (known.is_empty(), signers.first(), self.unsigned_grant()) {
            (false, ..) => Ok(known),
            (true, Some(signer), _) => Err(denied(format!(
                "this node does not know signer {signer}; its operator can add the key as a [[signer]] of the policy"
            ))),
            (true, None, Some(unsigned)) => Ok(vec![unsigned]),
            (true, None, None) => Err(denied("this node runs no unsigned bundles; sign it (denali sign)".to_owned())),
        }
    }
}

fn denied(message: String) -> Refusal {
    Refusal { kind: RefusalKind::Denied, message }
}

/// The most generous of `grants` that covers what `manifest` asks for, as the limits of its jobs.
pub(crate) fn choose(grants: &[Grant], manifest: &Manifest) -> Result<Grant, Refusal> {
    let mut refusal = None;
    let mut best: Option<Grant> = None;
    for grant in grants {
        match exceeded(&grant.limits, manifest) {
            Some(message) => refusal = refusal.or(Some(message)),
            None if best
                .is_none_or(|best| (best.limits.output_bytes, best.vms) < (grant.limits.output_bytes, grant.vms)) =>
            {
                best = Some(*grant);
            }
            None => {}
        }
    }
    let best = best.ok_or_else(|| denied(refusal.unwrap_or_default()))?;
    let limits = Limits {
        memory_bytes: manifest.memory_bytes,
        cpu_time_us: manifest.cpu_time_us,
        wall_time_us: manifest.wall_time_us,
        output_bytes: best.limits.output_bytes,
    };
    Ok(Grant { limits, ..best })
}

fn exceeded(granted: &Limits, asked: &Manifest) -> Option<String> {
    let rows = [
        ("bytes of memory", asked.memory_bytes, granted.memory_bytes),
        ("µs of CPU time", asked.cpu_time_us, granted.cpu_time_us),
        ("µs of wall time", asked.wall_time_us, granted.wall_time_us),
    ];
    let (unit, asked, granted) = rows.into_iter().find(|(_, asked, granted)| asked > granted)?;
    Some(format!("the bundle asks for {asked} {unit}, this node grants it {granted}"))
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

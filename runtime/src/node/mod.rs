//! The node: the daemon of one volunteer. Accepts bundles under the volunteer's policy, runs their jobs on workers, keeps
//! results until they expire.
//!
//! | module | what |
//! |---|---|
//! | `rights` | what the process gives up first |
//! | `data` | the data directory: lock and key |
//! | `policy` | who may run what |
//! | `queue` | which job starts next; pure |
//! | `cpus` | which worker may use how many CPUs; pure |
//! | `job` | jobs and runs in memory |
//! | `engine` | carries out what the queue decides: submit, start, finish, restart |
//! | `shares` | tells workers which CPUs, memory and disk they may use |
//! | `tenant` | workers, never one for two clients |
//! | `top` | what the node does, for whoever asks |
//! | `spool`, `output` | output as it arrives, and as a result keeps it |
//! | `store` | what survives |
//! | `bundles` | manifests of the bundles in the store |
//! | `server`, `follow`, `answer` | the node's side of connections |

mod answer;
mod bundles;
mod cpus;
mod data;
mod engine;
mod follow;
mod job;
mod output;
pub(crate) mod policy;
mod queue;
pub(crate) mod rights;
mod server;
mod shares;
mod spool;
mod store;
mod tenant;
mod top;

use crate::{
    key_file::KeyFileError,
    transport::{self, BindError},
    worker::{SpawnError, cgroup},
};
use data::{DataDirectory, DataError};
use denali_protocol::identity::PublicKey;
use engine::Engine;
use policy::{Policy, PolicyError};
use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{Store, StoreError};
use tenant::Launcher;
use tokio::signal::unix::{SignalKind, signal};

/// How long running jobs may take to end when a node stops. The others run again after the next start.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How often expired results are looked for.
const EXPIRY: Duration = Duration::from_secs(60);

/// What a node is started with.
#[derive(Clone, Debug)]
pub(crate) struct NodeOptions {
    /// Its data directory: key, store, bundles. Made if missing.
    pub(crate) data: PathBuf,
    /// The UDP address to listen on.
    pub(crate) listen: SocketAddr,
    /// The policy file; absent for the defaults.
    pub(crate) policy: Option<PathBuf>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// This host cannot run VMs.
    #[error("this host cannot run jobs: {0}")]
    Host(#[from] SpawnError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The policy cannot be used. The operator is at fault.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    /// No file for VMs that idle can be made. The operator is at fault.
    #[error("no disk for VMs that idle: {}: {source}; choose another `swap_directory` under [node]", path.display())]
    Swap {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refused something that it should not.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<KeyFileError> for NodeError {
    fn from(error: KeyFileError) -> Self {
        Self::Data(error.into())
    }
}

/// A running node in this process.
#[derive(Debug)]
pub(crate) struct Node {
    engine: Arc<Engine>,
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _data: DataDirectory,
}

impl Node {
    /// Starts a node and returns once it accepts jobs.
    ///
    /// # Errors
    /// [`NodeError`], in words that an operator can act on.
    pub(crate) async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        Self::start_with(options, Launcher::PROCESS).await
    }

    async fn start_with(options: NodeOptions, launcher: Launcher) -> Result<Self, NodeError> {
        let mut policy = options.policy.as_deref().map_or_else(|| Ok(Policy::default()), Policy::read)?;
        let data = DataDirectory::open(&options.data)?;
        policy.node.swap_directory.get_or_insert_with(|| data.path().to_owned());
        let key = data.key()?;
        // A node that cannot run jobs must not accept any.
        cgroup::set(&policy);
        let launcher = Launcher(launcher.0, policy.node.jail);
        let spare = launcher.launch().await?;
        for lack in spare.0.lacks() {
            tracing::warn!("workers go without a part of their jail: {lack}");
        }
        if let Some(lack) = spare.0.unbounded() {
            tracing::info!("workers go without {lack}");
        }
        let store = Store::open(data.path())?;
        let endpoint = transport::server_endpoint(options.listen, &key)?;
        let address = endpoint.local_addr()?;
        let engine = Engine::new(key, policy, store, launcher);
        engine.tenants.shares.check_swap().map_err(|(path, source)| NodeError::Swap { path, source })?;
        engine.tenants.keep_spare(spare);
        let jobs = engine.take_up()?;
        if jobs > 0 {
            tracing::info!(jobs, "taking up jobs that were accepted before");
        }
        let server = tokio::spawn(server::serve(Arc::clone(&engine), endpoint.clone()));
        let expiry = tokio::spawn(expire(Arc::clone(&engine)));
        let shares = Arc::clone(&engine.tenants.shares);
        let sharing = tokio::spawn(async move { shares.pass_on().await });
        Ok(Self { engine, endpoint, address, tasks: vec![server, expiry, sharing], _data: data })
    }

    /// Its key.
    pub(crate) fn key(&self) -> PublicKey {
        self.engine.key.public()
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting jobs, and ends once running ones have ended or a short grace is over. What was accepted and has
    /// not ended runs after the next start.
    pub(crate) async fn stop(self) {
        self.engine.stop_starting();
        let end = Instant::now() + STOP_GRACE;
        while !self.engine.is_idle() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill().await;
    }

    /// Ends at once, as a crash would.
    async fn kill(self) {
        self.engine.stop_starting();
        self.endpoint.close(0_u32.into(), b"the node is stopping");
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.engine.tenants.close();
        self.endpoint.wait_idle().await;
        self.engine.store.close().await;
    }
}

async fn expire(engine: Arc<Engine>) {
    let mut ticks = tokio::time::interval(EXPIRY);
    loop {
        ticks.tick().await;
        if let Err(error) = engine.expire().await {
            tracing::error!("cannot remove expired results: {error}");
        }
    }
}

/// Runs a node until SIGTERM or SIGINT. Prints `NODEID@ADDR` on standard output once it accepts jobs.
///
/// # Errors
/// [`NodeError`] when it does not start.
pub(crate) async fn run(options: NodeOptions) -> Result<(), NodeError> {
    start_log();
    allow_descriptors();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let node = Node::start(options).await?;
    let (key, address) = (node.key(), node.address());
    let mut out = io::stdout();
    writeln!(out, "{key}@{address}").and_then(|()| out.flush())?;
    tracing::info!(node = %key, %address, slots = node.engine.policy.node.slots, "accepting jobs");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    node.stop().await;
    Ok(())
}

/// Raises the bound on open files as far as this process may: runs, workers and connections take some each.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!("cannot raise the bound on open files: {error}");
    }
}

/// Logs to standard error: what a volunteer should know, or what `RUST_LOG` asks for.
fn start_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,denali=info"));
    // Fails where the process logs already.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // What the log's disk or pipe does not take is not told there either: that would be a panic.
    let log = log.log_internal_errors(false);
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
}

/// Fuzz bodies.
#[cfg(feature = "testing")]
pub(crate) mod testing {
    pub use super::{policy::fuzz::policy, queue::fuzz::queue, spool::fuzz::spool, store::store_log};
}

#[cfg(test)]
mod tests;

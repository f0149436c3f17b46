//! A handle on one worker process: used by the node, and by `denali run` for runs without a node.
//!
//! A worker is a hostile peer from the moment it holds a VM. What it says is checked by `rules`; what it does not read
//! waits in a bounded queue (`link`), and a worker that keeps that waiting is killed. However it dies, [`Reports::next`]
//! says so once, and its runs are the caller's to account for.

pub(crate) mod cgroup;
mod link;
mod pace;
mod rules;

use cgroup::{Group, NoGroup};
use denali_protocol::limits;
use denali_vmm::worker::message::{Command, Lack, Measure, Report, RunId, Start};
use link::Link;
pub(crate) use link::LinkError;
use rules::Runs;
pub(crate) use rules::Violation;
use std::{
    ffi::OsStr,
    io,
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::process::Child;
#[cfg(feature = "testing")]
pub use {link::fuzz::worker_link, rules::fuzz::reports};

/// A worker that is not ready by then never will be.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker that closed its socket may take to be gone, so that its exit status can be told.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no worker. The host is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// The process could not be started.
    #[error("cannot start a worker process: {0}")]
    Process(#[from] io::Error),
    /// The worker says what this host lacks.
    #[error("{0}")]
    NotReady(String),
    /// It has no control group, and others of this node have one.
    #[error("no control group for a worker: {0}")]
    Group(Lack),
    /// The policy wants more of a jail than this host gives.
    #[error("the policy wants more of a jail for workers, and this host does not give {0}")]
    Jail(String),
    /// The worker died before it was ready.
    #[error("the worker did not start: {0}")]
    Died(#[from] Death),
    /// The worker said nothing.
    #[error("the worker was not ready within {} s", READY_TIMEOUT.as_secs())]
    Silent,
}

/// How a worker died. All of its runs are lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Death {
    /// It ended, or someone killed it.
    #[error("the worker ended ({0})")]
    Ended(ExitStatus),
    /// It closed its socket and did not end by itself; it was killed.
    #[error("the worker closed its socket")]
    Closed,
    /// The socket failed, or what came over it is no report; it was killed.
    #[error("the worker was killed: {0}")]
    Link(#[from] LinkError),
    /// It broke the rules of the protocol; it was killed.
    #[error("the worker was killed: it broke the rules: {0}")]
    Violation(#[from] Violation),
}

/// The worker takes no more commands: it is dead or dying, and [`Reports::next`] will say why.
#[derive(Debug, thiserror::Error)]
#[error("the worker is gone")]
pub(crate) struct GoneError;

/// Sends commands to one worker process. The process is killed when this and its [`Reports`] are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Worker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    link: Link,
    runs: Mutex<Runs>,
    child: Mutex<Option<Child>>,
    /// Its control group, removed when it is gone.
    group: Mutex<Option<Group>>,
    /// Why it has none, where it should.
    unbounded: OnceLock<Lack>,
    /// What this host could not give for its jail.
    lacks: OnceLock<Vec<Lack>>,
    /// The process that holds the VMs, which the child has in a namespace of processes: the one that said that it is ready.
    process: OnceLock<u32>,
}

/// Receives the reports of one worker process, each checked against the rules. Must be read all the time: whoever stops
/// reading stops the worker.
#[derive(Debug)]
pub(crate) struct Reports(Arc<Shared>);

impl Worker {
    /// Starts a worker process and waits until it is ready. A node's is in a control group of its own, where the host has them.
    ///
    /// # Errors
    /// [`SpawnError`], in words that an operator can act on.
    pub(crate) async fn spawn() -> Result<(Self, Reports), SpawnError> {
        Self::spawn_as(OsStr::new("/proc/self/exe"), cgroup::make()).await
    }

    /// The same of this program, in this group. Where none ever started in one it goes without, as where the host has none. Later
    /// that is an error: a group is refused just when the host is short, which is when bounds matter.
    async fn spawn_as(program: &OsStr, group: Result<Option<Group>, NoGroup>) -> Result<(Self, Reports), SpawnError> {
        let (mut group, mut unbounded) = match group {
            Ok(group) => (group, None),
            Err(NoGroup { lack, others_had: false }) => (None, Some(lack)),
            Err(NoGroup { lack, others_had: true }) => return Err(SpawnError::Group(lack)),
        };
        let mut started = Self::start_process(program, group.as_ref()).await;
        if let Err(SpawnError::Died(death)) = &started
            && let Some(refused) = group.take_if(|group| !group.is_proven())
        {
            drop(refused);
            let lack = Lack { measure: Measure::Limits, why: format!("in its group {death}") };
            tracing::warn!("a worker goes without {lack}");
            unbounded = Some(lack);
            started = Self::start_process(program, None).await;
        }
        let (worker, reports) = started?;
        group.as_ref().inspect(|group| group.prove());
        *worker.0.group() = group;
        if let Some(lack) = unbounded {
            let _ = worker.0.unbounded.set(lack);
        }
        Ok((worker, reports))
    }

    async fn start_process(program: &OsStr, group: Option<&Group>) -> Result<(Self, Reports), SpawnError> {
        let entered = group.map(|group| [OsStr::new("--cgroup"), group.directory().as_os_str()]);
        let limited = cgroup::file_bytes().map(|bytes| ["--file-bytes".to_owned(), bytes.to_string()]);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        rustix::net::sockopt::set_socket_passcred(&ours, true).map_err(io::Error::from)?;
        let child = tokio::process::Command::new(program)
            .arg("worker")
            .args(entered.iter().flatten())
            .args(limited.iter().flatten())
            // It needs nothing of this process: no settings, no place in the file system.
            .env_clear()
            // Threads with guests can't ask for memory: all that the allocator (mimalloc) reserved at the start is at hand.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "1")
            .current_dir("/")
            // Its standard error stays this process's: it says there why it ends, and a panic says where. A worker that
            // a guest took over can write what it likes to the operator's log, but not under the node's name.
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Self::adopt(ours, Some(child)).await
    }

    /// Takes over the socket to a worker, and waits until it is ready.
    pub(crate) async fn adopt(
        socket: std::os::unix::net::UnixStream,
        child: Option<Child>,
    ) -> Result<(Self, Reports), SpawnError> {
        Self::adopt_within(READY_TIMEOUT, socket, child).await
    }

    async fn adopt_within(
        time: Duration,
        socket: std::os::unix::net::UnixStream,
        child: Option<Child>,
    ) -> Result<(Self, Reports), SpawnError> {
        let shared = Arc::new(Shared {
            link: Link::new(socket)?,
            runs: Mutex::default(),
            child: Mutex::new(child),
            group: Mutex::default(),
            unbounded: OnceLock::new(),
            lacks: OnceLock::new(),
            process: OnceLock::new(),
        });
        let mut reports = Reports(Arc::clone(&shared));
        let ready = async {
            // Where that fails, so does what follows.
            if let Ok(Some(process)) = shared.link.sender().await {
                let _ = shared.process.set(process);
            }
            reports.next().await
        };
        match tokio::time::timeout(time, ready).await {
            Ok(Ok(Report::Ready(Ok(lacks)))) => {
                let _ = shared.lacks.set(lacks);
                Ok((Self(shared), reports))
            }
            Ok(Ok(Report::Ready(Err(lack)))) => Err(SpawnError::NotReady(lack)),
            Ok(Ok(_)) => Err(Death::from(Violation::NotReady).into()),
            Ok(Err(death)) => Err(death.into()),
            Err(_) => Err(SpawnError::Silent),
        }
    }

    /// Starts a VM. `bundle` is the content, which can be mapped and will not change; `input`, where it comes by a
    /// descriptor, is read from its current position to its end.
    ///
    /// # Errors
    /// When the worker is gone.
    pub(crate) fn start(&self, start: Start, bundle: OwnedFd, input: Option<OwnedFd>) -> Result<(), GoneError> {
        // Known before the command is out: the first report may be quicker than this thread.
        self.0.runs().begin(&start);
        let descriptors = std::iter::once(bundle).chain(input).collect();
        self.0.link.send(&Command::Start(start), descriptors).map_err(|_| self.0.gone())
    }

    /// Ends a run as cancelled. It reports its end as any other run does.
    ///
    /// # Errors
    /// When the worker is gone.
    pub(crate) fn cancel(&self, run: RunId) -> Result<(), GoneError> {
        self.0.link.send(&Command::Cancel(run), Vec::new()).map_err(|_| self.0.gone())
    }

    /// Sends any other command.
    ///
    /// # Errors
    /// When the worker is gone.
    pub(crate) fn tell(&self, command: &Command, descriptors: Vec<OwnedFd>) -> Result<(), GoneError> {
        self.0.link.send(command, descriptors).map_err(|_| self.0.gone())
    }

    /// Whether it has neither died nor closed its socket.
    pub(crate) fn is_there(&self) -> bool {
        self.0.link.is_open()
    }

    /// What this host could not give for its jail.
    pub(crate) fn lacks(&self) -> &[Lack] {
        self.0.lacks.get().map_or(&[], Vec::as_slice)
    }

    /// Why no control group bounds it, where one should.
    pub(crate) fn unbounded(&self) -> Option<&Lack> {
        self.0.unbounded.get()
    }

    /// The process that holds the VMs, while it lives.
    pub(crate) fn pid(&self) -> Option<u32> {
        // The child is the worker, or waits for it alone.
        let child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Child::id)?;
        Some(*self.0.process.get().unwrap_or(&child))
    }

    /// Kills the process now.
    pub(crate) fn kill(&self) {
        self.0.kill();
    }
}

impl Shared {
    fn runs(&self) -> std::sync::MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group(&self) -> std::sync::MutexGuard<'_, Option<Group>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) {
        self.link.close();
        if let Some(child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // Fails only when the process is gone already.
            let _ = child.start_kill();
        }
    }

    fn gone(&self) -> GoneError {
        self.kill();
        GoneError
    }
}

impl Reports {
    /// The next report. After an error there is none: the worker is dead.
    ///
    /// # Errors
    /// [`Death`].
    pub(crate) async fn next(&mut self) -> Result<Report, Death> {
        let shared = &*self.0;
        match shared.link.receive::<Report>().await {
            Ok(Some(report)) => {
                let admitted = shared.runs().admit(report);
                admitted.map_err(|violation| {
                    shared.kill();
                    violation.into()
                })
            }
            Ok(None) => Err(self.ended().await),
            Err(error) => {
                shared.kill();
                Err(error.into())
            }
        }
    }

    /// Whether the next report is here already.
    pub(crate) fn more_are_here(&self) -> bool {
        self.0.link.has_frame()
    }

    async fn ended(&self) -> Death {
        let child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut child) = child else { return Death::Closed };
        let ended = tokio::time::timeout(EXIT_TIMEOUT, child.wait()).await;
        self.0.group().take();
        match ended {
            Ok(Ok(status)) => Death::Ended(status),
            _ => Death::Closed,
        }
    }
}

/// Most bytes of text from a worker that are kept: an outcome must fit a receipt.
const TEXT_BYTES: usize = limits::RECEIPT_BYTES / 16;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

//! A node in a process of its own.

use super::{Denali, Done, Place, Running, busy, children, eventually, text};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

/// A running node.
pub(crate) struct Node {
    running: Running,
    /// `NODEID@ADDRESS`, as it printed it.
    name: String,
    data: PathBuf,
    policy: PathBuf,
}

impl Node {
    /// Starts a node under this policy, with a new data directory.
    pub(crate) fn start(place: &Place, policy: &str) -> Self {
        let data = tempfile::Builder::new().prefix("node-").tempdir_in(place.path("")).expect("a directory").keep();
        Self::start_on(place, data, policy)
    }

    /// Starts a node on this data directory.
    pub(crate) fn start_on(place: &Place, data: PathBuf, policy: &str) -> Self {
        let file = format!("policy-{}.toml", data.file_name().unwrap_or_default().display());
        let policy = place.write(&file, policy);
        Self::launch(place, data, policy, "127.0.0.1:0")
    }

    /// As [`Node::start`], with a log to which it appends.
    pub(crate) fn start_logging_to(place: &Place, log: &Path, policy: &str) -> Self {
        let (data, policy) = (place.path("data"), place.write("policy.toml", policy));
        let denali = Self::command(place, &data, &policy, "127.0.0.1:0");
        let script = "log=$0; exec \"$@\" 2>>\"$log\"";
        let arguments = [OsStr::new("-c"), OsStr::new(script), log.as_os_str()];
        Self::started(denali.through("sh", arguments).start(), data, policy)
    }

    fn launch(place: &Place, data: PathBuf, policy: PathBuf, listen: &str) -> Self {
        let running = Self::command(place, &data, &policy, listen).start();
        Self::started(running, data, policy)
    }

    /// A node that was started, once it serves.
    fn started(running: Running, data: PathBuf, policy: PathBuf) -> Self {
        let name = running.hear("\n").lines().next().expect("a line").to_owned();
        assert!(name.contains('@'), "not NODEID@ADDRESS: {name}");
        Self { running, name, data, policy }
    }

    fn command(place: &Place, data: &Path, policy: &Path, listen: &str) -> Denali {
        place.denali(["node", "--listen", listen, "--data"]).arg(data).arg("--policy").arg(policy)
    }

    /// The command that would start another node on its data directory.
    pub(crate) fn twin(&self, place: &Place) -> Denali {
        Self::command(place, &self.data, &self.policy, "127.0.0.1:0")
    }

    /// Kills it, as by `kill -9`, and starts it again where it was.
    pub(crate) fn crash(self, place: &Place) -> Self {
        let Self { running, name, data, policy } = self;
        running.kill();
        let again = Self::launch(place, data, policy, &address(&name));
        assert_eq!(again.name, name, "it is the same node to its clients");
        again
    }

    /// As [`Node::crash`], where the clocks that only go forward are so far ahead. `None` where the host has no such place.
    pub(crate) fn crash_into(self, place: &Place, time: Duration) -> Option<Self> {
        // Linux before 6.3 moves only children there, so look at what came of it.
        let seconds = time.as_secs().to_string();
        let arguments = ["--time", "--monotonic", &seconds, "--boottime", &seconds, "cat", "/proc/uptime"];
        let uptime = std::process::Command::new("unshare").args(arguments).output();
        let uptime = uptime.ok().and_then(|done| String::from_utf8(done.stdout).ok()?.split('.').next()?.parse().ok());
        if uptime.is_none_or(|uptime: u64| uptime < time.as_secs()) {
            eprintln!("skipped: no time namespace can be made here");
            return None;
        }
        let Self { running, name, data, policy } = self;
        running.kill();
        let again = Self::command(place, &data, &policy, &address(&name)).ahead(time).start();
        Some(Self::started(again, data, policy))
    }

    /// As [`Node::crash`], and kills it once more this time after it was started again, whatever it is at by then.
    pub(crate) fn crash_twice(self, place: &Place, after: Duration) -> Self {
        let Self { running, name, data, policy } = self;
        running.kill();
        let again = Self::command(place, &data, &policy, &address(&name)).start();
        std::thread::sleep(after);
        again.kill();
        Self::launch(place, data, policy, &address(&name))
    }

    /// Asks it to end by SIGTERM, and waits until it has.
    pub(crate) fn terminate(self) -> (Done, PathBuf) {
        self.running.signal(Signal::TERM);
        (self.running.finish(), self.data)
    }

    /// Kills it, as by `kill -9`.
    pub(crate) fn kill(self) {
        self.running.kill();
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.running.id()
    }

    /// `NODEID@ADDRESS`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        self.name.split_once('@').expect("both parts").0
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        address(&self.name)
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The ids of its worker processes, also of those that wait for work.
    pub(crate) fn workers(&self) -> Vec<u32> {
        // Each lives in a namespace of processes, beside one that waits for it outside.
        let inner = |launcher: u32| children(launcher).first().copied().unwrap_or(launcher);
        children(self.running.id()).into_iter().map(inner).collect()
    }

    /// The id of a worker process that computes, and is none of `others`.
    pub(crate) fn busy_worker(&self, others: &[u32]) -> u32 {
        eventually("a worker that computes", || {
            busy(&self.workers()).into_iter().find(|worker| !others.contains(worker))
        })
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.running.stderr()
    }

    /// A command that talks to it, such as `list`.
    pub(crate) fn ask<const N: usize>(&self, place: &Place, arguments: [&str; N]) -> Denali {
        let (command, rest) = arguments.split_first().expect("a command");
        place.denali([command]).arg("--node").arg(&self.name).args(rest)
    }

    /// A submission of `file`.
    pub(crate) fn submit(&self, place: &Place, file: impl AsRef<OsStr>) -> Denali {
        self.ask(place, ["submit"]).arg(file)
    }

    /// Where a job stands.
    pub(crate) fn status(&self, place: &Place, job: &str) -> Value {
        self.ask(place, ["status", job, "--json"]).succeed().line()
    }

    /// Waits until a job is in this state.
    pub(crate) fn wait_for(&self, place: &Place, job: &str, state: &str) {
        eventually(&format!("{job} is {state}"), || (text(&self.status(place, job), "state") == state).then_some(()));
    }

    /// Runs hello on it, which must end right: the node serves.
    pub(crate) fn serves(&self, place: &Place) {
        let done = self.submit(place, place.image("hello")).args(["--json", "--", "you"]).succeed();
        assert_eq!(text(&done.line(), "stdout"), "Hello, you!\n", "{done}");
    }
}

fn address(name: &str) -> String {
    name.split_once('@').expect("both parts").1.to_owned()
}

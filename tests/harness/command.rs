//! Runs `denali` as a child process: streams that can be watched, a deadline, and an end in any case.

use super::{DEADLINE, pipe::Pipe, process};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    ffi::OsStr,
    fmt,
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// A command that is being put together.
pub(crate) struct Denali {
    command: Command,
    input: Vec<u8>,
}

impl Denali {
    /// A command of the user whose files are in `home`.
    pub(super) fn new(home: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_denali"));
        command
            .current_dir(home)
            .env("DENALI_HOME", home.join("home"))
            .env_remove("DENALI_NODE")
            .env_remove("RUST_LOG");
        Self { command, input: Vec::new() }
    }

    /// Has `program` start it, which is given these arguments and then the command.
    pub(crate) fn through<S: AsRef<OsStr>>(self, program: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        Self { command, input: self.input }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// The same where the clocks that only go forward are so far ahead (time_namespaces(7)). For root.
    pub(super) fn ahead(self, time: Duration) -> Self {
        let seconds = time.as_secs().to_string();
        self.through("unshare", ["--time", "--monotonic", &seconds, "--boottime", &seconds])
    }

    /// What it reads from a pipe.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs it to its end. Its standard input is a file where `file` gives one.
    pub(crate) fn run(self) -> Done {
        let input = self.input.clone();
        let mut running = self.start();
        let mut stdin = running.stdin.take().expect("a pipe");
        // A command need not read what it is given.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let done = running.finish();
        writer.join().expect("the writer does not panic");
        done
    }

    /// Runs it with a file as its standard input.
    pub(crate) fn run_on(mut self, file: &Path) -> Done {
        self.command.stdin(std::fs::File::open(file).expect("the input can be opened"));
        Running::start(self.command).finish()
    }

    /// Runs it; it must exit with 0.
    pub(crate) fn succeed(self) -> Done {
        self.end_with(0)
    }

    /// Runs it; it must exit with `status`.
    pub(crate) fn end_with(self, status: i32) -> Done {
        let done = self.run();
        assert_eq!(done.status.code(), Some(status), "{done}");
        done
    }

    /// Runs it; it must fail by an error of denali's own that says all of `words` on standard error.
    pub(crate) fn fail_with<const N: usize>(self, words: [&str; N]) -> Done {
        let done = self.end_with(125);
        for word in words {
            assert!(done.stderr.contains(word), "nothing about {word:?}\n{done}");
        }
        assert!(!done.stderr.contains("panicked"), "{done}");
        done
    }

    /// Starts it, with pipes for all of its streams.
    pub(crate) fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        Running::start(self.command)
    }
}

/// A command that runs. Killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    name: String,
    stdin: Option<ChildStdin>,
    stdout: Arc<Pipe>,
    stderr: Arc<Pipe>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command.spawn().expect("denali can be started");
        let stdin = child.stdin.take();
        let stdout = Pipe::read(child.stdout.take().expect("a pipe"));
        let stderr = Pipe::read(child.stderr.take().expect("a pipe"));
        Self { child, name, stdin, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input, which stays open.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("its input is open").write_all(bytes).expect("it takes its input");
    }

    /// Waits for `words` on its standard output.
    pub(crate) fn hear(&self, words: &str) -> String {
        let end = Instant::now() + DEADLINE;
        self.stdout.wait(end, |bytes| String::from_utf8_lossy(bytes).contains(words));
        let text = String::from_utf8_lossy(&self.stdout.bytes()).into_owned();
        assert!(text.contains(words), "{} did not say {words:?}: {text}\n{}", self.name, self.stderr());
        text
    }

    /// What it said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        process::send(self.child.id(), signal);
    }

    /// Kills it, as by `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Closes its input, and waits for its end and that of all that shares its streams.
    pub(crate) fn finish(mut self) -> Done {
        self.stdin = None;
        // A node may have served for long.
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("{} did not end\n{}", self.name, self.stderr());
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        for pipe in [&self.stdout, &self.stderr] {
            assert!(pipe.wait(end, |_| false), "{} ended, but left a process behind", self.name);
        }
        Done { name: self.name.clone(), status, stdout: self.stdout.bytes(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.stderr());
        }
    }
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Done {
    name: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Done {
    /// Its standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap_or_else(|_| panic!("no text: {self}"))
    }

    /// Its standard output, a line of JSON each.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}\n{self}"));
        self.text().lines().map(parse).collect()
    }

    /// The one line of JSON on its standard output.
    pub(crate) fn line(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{self}");
        lines.remove(0)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.stdout[..self.stdout.len().min(2000)];
        write!(f, "{}: {}\n{}\n{}", self.name, self.status, String::from_utf8_lossy(start), self.stderr)
    }
}

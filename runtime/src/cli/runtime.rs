//! The asynchronous runtime of one command.

use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs `command` to its end. What still blocks then (a terminal that nobody types at) is left behind.
pub(crate) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// Runs `command` to its end on this thread alone, without the time that threads take to wake each other. Nothing in it
/// may block for long: its connections would not be served meanwhile.
pub(crate) fn block_on_one_thread<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Ctrl-C, or a polite request to end.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Catches the signals from now on.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

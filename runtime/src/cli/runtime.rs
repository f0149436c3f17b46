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

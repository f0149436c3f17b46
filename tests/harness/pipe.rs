//! A child's output as it arrives.

use std::{
    io::Read,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Instant,
};

/// Bytes that arrived on a pipe so far.
#[derive(Default)]
pub(super) struct Pipe {
    state: Mutex<PipeState>,
    news: Condvar,
}

#[derive(Default)]
struct PipeState {
    bytes: Vec<u8>,
    closed: bool,
}

impl Pipe {
    /// Reads `from` to its end, in a thread of its own.
    pub(super) fn read(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let pipe = Arc::new(Self::default());
        let filled = Arc::clone(&pipe);
        std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            loop {
                let read = from.read(&mut buffer).unwrap_or(0);
                let mut state = filled.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.bytes.extend_from_slice(&buffer[..read]);
                state.closed = read == 0;
                filled.news.notify_all();
                if state.closed {
                    return;
                }
            }
        });
        pipe
    }

    /// Waits until it is closed or the bytes are `enough`; false when the time is over first.
    pub(super) fn wait(&self, end: Instant, enough: impl Fn(&[u8]) -> bool) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = end.saturating_duration_since(Instant::now());
        let waited = self.news.wait_timeout_while(state, left, |state| !state.closed && !enough(&state.bytes));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What arrived so far.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }
}

//! How a jailed worker ends. Its threads can neither end nor say why: they tell the first one, which waits for nothing else.

use crate::jail;
use std::{
    fmt,
    io::{self, Write},
    panic,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// What the first thread waits for.
struct Ending {
    over: bool,
    /// What a thread said that can't go on.
    last_words: Option<String>,
}

static ENDING: Mutex<Ending> = Mutex::new(Ending { over: false, last_words: None });
static CHANGED: Condvar = Condvar::new();

fn ending() -> MutexGuard<'static, Ending> {
    ENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker is over.
pub(super) fn announce() {
    ending().over = true;
    CHANGED.notify_all();
}

/// From now on a panic ends the process by the thread that waits here. A panic is a mistake of ours that a guest found, or may
/// find again: better no worker than VMs that no one stops or reports any more.
pub(super) fn end_on_panic() {
    panic::set_hook(Box::new(|panic| {
        ending().last_words.get_or_insert(format!("{} {panic}", thread::current().name().unwrap_or_default()));
        CHANGED.notify_all();
        rest()
    }));
}

/// What threads do that have nothing more to do, for they must not end.
pub(super) fn rest() -> ! {
    loop {
        thread::park();
    }
}

/// Waits until the worker is over. An error is what a thread said that can't go on.
pub(super) fn wait() -> Result<(), String> {
    let mut ending = ending();
    loop {
        match ending.last_words.take() {
            Some(words) => return Err(words),
            None if ending.over => return Ok(()),
            None => ending = CHANGED.wait(ending).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Writes it to the operator's log, which may take nothing: that ends no worker.
pub(super) fn tell(error: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "denali worker: {error}");
}

/// Ends the process, and says why if that is an error.
pub(super) fn exit(ended: &Result<(), String>) -> ! {
    if let Err(error) = ended {
        tell(error);
    }
    jail::exit(if ended.is_ok() { 0 } else { 125 })
}

//! Signals: actions, masks, what is pending, and the frames that handlers run on; as a pure state machine.
//!
//! The embedder sends ([`Signals::kill`], [`Signals::force`], [`Signals::tick`]) and interrupts the thread that is named in
//! answer ([`crate::thread::Threads::interrupt`]). Before it lets a thread go on in the program, it calls
//! [`Signals::deliver`]: a handler gets a frame from [`frame::build`], byte for byte Linux's, and `rt_sigreturn` gives it to
//! [`frame::parse`]. After what changes a mask it calls [`Signals::retarget`].
//!
//! All that the program wrote is taken for hostile. Queues hold [`QUEUE_MAX`] signals in all.
mod action;
mod altstack;
mod calls;
mod deliver;
mod extended;
mod fault;
pub mod frame;
mod info;
mod itimer;
mod number;
mod pending;
mod restart;
mod send;
mod state;
#[cfg(test)]
mod tests;
mod timer;

pub use action::{Action, DefaultAction};
pub use altstack::AltStack;
pub use deliver::{Delivery, Handler};
pub use extended::{Extended, restore_extended};
pub use fault::Fault;
pub use info::{INFO_BYTES, Info};
pub use itimer::{Interval, Itimers};
pub use number::{SigSet, Signal};
pub use pending::QUEUE_MAX;
pub use restart::{After, Restart};
pub use state::Signals;
pub use timer::{Notify, TIMERS_MAX, Times};

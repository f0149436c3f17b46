//! Whether a system call that a signal interrupted goes on: signal(7), "Interruption of system calls".
use super::action::Action;
use linux_raw_sys::general as raw;

/// How a call takes an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It goes on whatever the handler (Linux's ERESTARTNOINTR).
    Always,
    /// It goes on after handlers with SA_RESTART (ERESTARTSYS).
    IfAsked,
    /// It returns `EINTR` after any handler (ERESTARTNOHAND, ERESTART_RESTARTBLOCK).
    Never,
}

/// What to do with an interrupted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Do it again with the same arguments, and the same deadline: after the handler, if there is one.
    Again,
    /// It returns `EINTR`.
    Interrupted,
}

impl Restart {
    /// How a call by this number takes it, of those that wait here. `futex` knows better: [`crate::thread::Futex::restart`]. A socket with a
    /// timeout of its own never restarts, which the caller knows.
    #[must_use]
    pub fn of_call(number: u32) -> Self {
        match number {
            raw::__NR_read
            | raw::__NR_readv
            | raw::__NR_preadv2
            | raw::__NR_write
            | raw::__NR_writev
            | raw::__NR_pwritev2
            | raw::__NR_sendfile
            | raw::__NR_accept
            | raw::__NR_accept4
            | raw::__NR_connect
            | raw::__NR_recvfrom
            | raw::__NR_recvmsg
            | raw::__NR_recvmmsg
            | raw::__NR_sendto
            | raw::__NR_sendmsg
            | raw::__NR_sendmmsg
            | raw::__NR_futex => Self::IfAsked,
            _ => Self::Never,
        }
    }

    /// What to do, given the action of the first handler that runs; without one, the call goes on as if nothing was.
    #[must_use]
    pub fn after(self, handler: Option<&Action>) -> After {
        match (self, handler) {
            (_, None) | (Self::Always, _) => After::Again,
            (Self::IfAsked, Some(action)) if action.has(raw::SA_RESTART) => After::Again,
            _ => After::Interrupted,
        }
    }
}

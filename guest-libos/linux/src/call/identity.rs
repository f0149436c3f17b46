//! Calls about who and where the program is.

use super::{Answer, Machine, Process};
use crate::{errno::Errno, thread::Tid};
use alloc::{collections::BTreeMap, vec::Vec};
use linux_raw_sys::{general as abi, prctl};

/// The one process, which is its group's and its session's.
pub(super) const PROCESS: u64 = 1;
/// The one user and group: root, since permissions of files refuse it nothing. Its capabilities end there.
pub const USER: u32 = 0;
/// What it may: `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`, `CAP_FOWNER` and `CAP_FSETID`, by their bits.
const CAPABLE: u32 = 0b1_1111;

/// Bytes of each field of `struct utsname`.
const NAME_BYTES: usize = 65;

/// What `uname` says: a version whose calls programs may expect.
pub(super) const NAMES: [&str; 6] = ["Linux", "denali", "6.1.0-denali", "#1 Denali", "x86_64", "(none)"];

/// Most bytes of one `getrandom`, as on Linux, and its flags.
const RANDOM_MOST: u64 = 33_554_431;
const RANDOM_FLAGS: u64 = abi::GRND_NONBLOCK as u64 | abi::GRND_RANDOM as u64 | abi::GRND_INSECURE as u64;

/// Bytes of a thread's name, its NUL included.
const THREAD_NAME_BYTES: usize = 16;

/// Versions of capabilities, and how many words of data each has.
const CAPABILITIES: [(u32, usize); 3] = [(0x1998_0330, 3), (0x2007_1026, 6), (0x2008_0522, 6)];

/// What the program was started with, and what its threads are called.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Arguments, each with a NUL after it.
    pub(super) arguments: Vec<u8>,
    /// The environment, in the same form.
    pub(super) environment: Vec<u8>,
    /// The auxiliary vector.
    pub(super) auxiliary: Vec<u8>,
    names: BTreeMap<Tid, [u8; THREAD_NAME_BYTES]>,
    /// `PR_SET_KEEPCAPS`, of all threads: only kept, since the user never changes.
    keeps_capabilities: bool,
}

impl Identity {
    /// Sets what /proc/self/cmdline, environ and auxv tell.
    pub fn set(&mut self, arguments: &[&[u8]], environment: &[&[u8]], auxiliary: Vec<u8>) {
        let joined = |texts: &[&[u8]]| texts.iter().flat_map(|text| [*text, b"\0"]).flatten().copied().collect();
        (self.arguments, self.environment, self.auxiliary) = (joined(arguments), joined(environment), auxiliary);
    }
}

/// A lone process's answer about a process: itself, or `ESRCH`.
pub(super) fn itself(pid: u64) -> Result<(), Errno> {
    match u64::from(pid as u32) {
        0 | PROCESS => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

impl<M: Machine> Process<M> {
    pub(super) fn uname(&mut self, address: u64) -> Answer {
        let out = self.output(address, (NAMES.len() * NAME_BYTES) as u64)?;
        out.fill(0);
        for (field, name) in out.chunks_exact_mut(NAME_BYTES).zip(NAMES) {
            field[..name.len()].copy_from_slice(name.as_bytes());
        }
        Ok(0)
    }

    pub(super) fn getrandom(&mut self, address: u64, bytes: u64, flags: u64) -> Answer {
        if flags & !RANDOM_FLAGS != 0 {
            return Err(Errno::EINVAL.into());
        }
        let bytes = bytes.min(RANDOM_MOST);
        self.output(address, bytes)?;
        let mut piece = [0; 256];
        let mut at = address;
        while at < address + bytes {
            let count = (address + bytes - at).min(piece.len() as u64);
            let piece = &mut piece[..count as usize];
            self.space.pages().random(piece);
            self.output(at, count)?.copy_from_slice(piece);
            at += count;
        }
        Ok(bytes)
    }

    /// `getpgid`, `getsid`.
    pub(super) fn leader(&mut self, pid: u64) -> Answer {
        itself(pid)?;
        Ok(PROCESS)
    }

    /// A session's leader stays in its group.
    pub(super) fn setpgid(&mut self, pid: u64) -> Answer {
        itself(pid)?;
        Err(Errno::EPERM.into())
    }

    /// `getresuid`, `getresgid`.
    pub(super) fn getresid(&mut self, addresses: [u64; 3]) -> Answer {
        for address in addresses {
            self.output(address, 4)?.copy_from_slice(&USER.to_le_bytes());
        }
        Ok(0)
    }

    /// `setuid` and all its relatives: nobody becomes anybody else. -1 leaves what there is, where `keeps` says so.
    pub(super) fn setid(&mut self, ids: &[u64], keeps: bool) -> Answer {
        for id in ids.iter().map(|id| *id as u32) {
            match id {
                u32::MAX if keeps => {}
                u32::MAX => return Err(Errno::EINVAL.into()),
                USER => {}
                _ => return Err(Errno::EPERM.into()),
            }
        }
        Ok(0)
    }

    /// Capabilities, effective and permitted ones: see [`CAPABLE`].
    pub(super) fn capget(&mut self, header: u64, data: u64) -> Answer {
        let [version, pid] = self.get::<1>(header).map(|[word]| [word as u32, (word >> 32) as u32])?;
        let Some((_, words)) = CAPABILITIES.iter().find(|(known, _)| *known == version) else {
            self.output(header, 4)?.copy_from_slice(&CAPABILITIES[2].0.to_le_bytes());
            return if data == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) };
        };
        itself(pid.into())?;
        if data != 0 {
            let out = self.output(data, 4 * *words as u64)?;
            out.fill(0);
            for word in out.chunks_exact_mut(4).take(2) {
                word.copy_from_slice(&CAPABLE.to_le_bytes());
            }
        }
        Ok(0)
    }

    pub(super) fn prctl(&mut self, option: u64, argument: u64) -> Answer {
        /// The slack of timers, in ns.
        const SLACK_NS: u64 = 50_000;
        match option as u32 {
            prctl::PR_SET_NAME => self.set_thread_name(argument),
            prctl::PR_GET_NAME => {
                let name = self.thread_name(self.current());
                self.output(argument, name.len() as u64)?.copy_from_slice(&name);
                Ok(0)
            }
            prctl::PR_GET_PDEATHSIG => {
                self.output(argument, 4)?.fill(0);
                Ok(0)
            }
            prctl::PR_SET_PDEATHSIG if argument <= 64 => Ok(0),
            prctl::PR_GET_DUMPABLE | prctl::PR_GET_NO_NEW_PRIVS => Ok(1),
            prctl::PR_SET_DUMPABLE if argument <= 1 => Ok(0),
            prctl::PR_SET_NO_NEW_PRIVS if argument == 1 => Ok(0),
            prctl::PR_GET_KEEPCAPS => Ok(self.identity.keeps_capabilities.into()),
            prctl::PR_SET_KEEPCAPS if argument <= 1 => {
                self.identity.keeps_capabilities = argument == 1;
                Ok(0)
            }
            prctl::PR_GET_TIMERSLACK => Ok(SLACK_NS),
            prctl::PR_SET_TIMERSLACK
            | prctl::PR_SET_THP_DISABLE
            | prctl::PR_GET_THP_DISABLE
            | prctl::PR_GET_SECCOMP => Ok(0),
            prctl::PR_CAPBSET_READ if argument <= abi::CAP_LAST_CAP.into() => Ok(u64::from(CAPABLE) >> argument & 1),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// A thread is called as the program says, cut to 15 bytes.
    fn set_thread_name(&mut self, address: u64) -> Answer {
        let reach = self.space.accessible(address, THREAD_NAME_BYTES as u64 - 1, crate::mm::Access::Read);
        let text = self.input(address, reach)?;
        let end = text.iter().position(|byte| *byte == 0);
        if end.is_none() && text.len() < THREAD_NAME_BYTES - 1 {
            return Err(Errno::EFAULT.into());
        }
        let mut name = [0; THREAD_NAME_BYTES];
        let text = &text[..end.unwrap_or(text.len())];
        name[..text.len()].copy_from_slice(text);
        if self.identity.names.len() > self.threads.count() {
            let threads = &self.threads;
            self.identity.names.retain(|tid, _| threads.state(*tid).is_some());
        }
        self.identity.names.insert(self.current(), name);
        Ok(0)
    }

    /// The program's name, where a thread has no other.
    pub(super) fn thread_name(&self, tid: Tid) -> [u8; THREAD_NAME_BYTES] {
        let named = [tid, self.threads.pid()].into_iter().find_map(|tid| self.identity.names.get(&tid));
        named.copied().unwrap_or_else(|| {
            let file = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let count = file.len().min(THREAD_NAME_BYTES - 1);
            let mut name = [0; THREAD_NAME_BYTES];
            name[..count].copy_from_slice(&file[..count]);
            name
        })
    }
}

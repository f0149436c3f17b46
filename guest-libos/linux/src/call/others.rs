//! Which call is which: those on memory, threads, signals and time, and those about the program itself.

use super::{Answer, Frame, Machine, Process, Stop, identity};
use crate::errno::Errno;
use linux_raw_sys::general as nr;

/// No call of Linux has this number or a higher one: all of these are counted as one.
const CALLS_END: u32 = 512;

impl<M: Machine> Process<M> {
    /// What a call answers, by its number.
    pub(super) fn answer(&mut self, number: u32, arguments: [u64; 6], frame: &mut Frame) -> Answer {
        let [a, b, c, d, e, _] = arguments;
        match number {
            nr::__NR_mmap => self.mmap(arguments),
            nr::__NR_munmap => self.munmap(a, b),
            nr::__NR_mprotect => self.mprotect(a, b, c),
            nr::__NR_mremap => self.mremap([a, b, c, d, e]),
            nr::__NR_madvise => Ok(self.space.madvise(a, b, c).map(|()| 0)?),
            nr::__NR_brk => Ok(self.space.brk(a)),
            nr::__NR_arch_prctl => self.arch_prctl(a, b),

            nr::__NR_clone => self.clone_thread([a, b, c, d, e], frame),
            nr::__NR_clone3 => self.clone3(a, b, frame),
            nr::__NR_exit => self.exit(a),
            nr::__NR_exit_group => Err(Stop::Exit(a as i32)),
            nr::__NR_futex => self.futex(arguments),
            nr::__NR_set_tid_address => self.set_tid_address(a),
            nr::__NR_set_robust_list => self.set_robust_list(a, b),
            nr::__NR_get_robust_list => self.get_robust_list(a, b, c),
            nr::__NR_sched_yield if self.threads.next_slice().is_none() => Ok(0),
            nr::__NR_sched_yield => Err(Stop::Yields),
            nr::__NR_nanosleep => self.sleep(1, 0, a, b),
            nr::__NR_clock_nanosleep => self.sleep(a, b, c, d),

            nr::__NR_rt_sigaction => self.sigaction(a, b, c, d),
            nr::__NR_rt_sigprocmask => self.sigprocmask(a, b, c, d),
            nr::__NR_rt_sigpending => self.sigpending(a, b),
            nr::__NR_rt_sigsuspend => self.sigsuspend(a, b),
            nr::__NR_rt_sigtimedwait => self.sigtimedwait(a, b, c, d),
            nr::__NR_rt_sigreturn => self.sigreturn(frame),
            nr::__NR_rt_sigqueueinfo => self.sigqueueinfo(a, None, b, c),
            nr::__NR_rt_tgsigqueueinfo => self.sigqueueinfo(a, Some(b), c, d),
            nr::__NR_sigaltstack => self.sigaltstack(a, b, frame.rsp),
            nr::__NR_pause => self.pause(),
            nr::__NR_kill => self.kill(a, b),
            nr::__NR_tkill => self.tgkill(self.threads.pid().0.into(), a, b),
            nr::__NR_tgkill => self.tgkill(a, b, c),
            nr::__NR_alarm => self.alarm(a),
            nr::__NR_setitimer => self.setitimer(a, b, c),
            nr::__NR_getitimer => self.getitimer(a, b),
            nr::__NR_timer_create => self.timer_create(a, b, c),
            nr::__NR_timer_settime => self.timer_settime(a, b, c, d),
            nr::__NR_timer_gettime => self.timer_gettime(a, b),
            nr::__NR_timer_getoverrun => Ok(self.signals.timer_getoverrun(a as i32)? as u64),
            nr::__NR_timer_delete => Ok(self.signals.timer_delete(a as i32).map(|()| 0)?),
            nr::__NR_getpid => Ok(identity::PROCESS),
            nr::__NR_gettid => Ok(self.current().0.into()),
            nr::__NR_clock_gettime => self.clock_gettime(a, b),
            nr::__NR_clock_getres => self.clock_getres(a, b),
            nr::__NR_gettimeofday => self.gettimeofday(a, b),
            nr::__NR_time => self.time(a),
            _ => self.answer_with_files(number, arguments),
        }
    }

    /// Calls about the program: who it is, and what it may use.
    pub(super) fn about(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, ..] = arguments;
        match number {
            nr::__NR_getpgrp => Ok(identity::PROCESS),
            nr::__NR_getuid
            | nr::__NR_geteuid
            | nr::__NR_getgid
            | nr::__NR_getegid
            | nr::__NR_setfsuid
            | nr::__NR_setfsgid => Ok(identity::USER.into()),
            nr::__NR_getpgid | nr::__NR_getsid => self.leader(a),
            nr::__NR_setpgid => self.setpgid(a),
            nr::__NR_getresuid | nr::__NR_getresgid => self.getresid([a, b, c]),
            nr::__NR_setuid | nr::__NR_setgid => self.setid(&[a], false),
            nr::__NR_setreuid | nr::__NR_setregid => self.setid(&[a, b], true),
            nr::__NR_setresuid | nr::__NR_setresgid => self.setid(&[a, b, c], true),
            nr::__NR_getgroups if (a as i32) < 0 => Err(Errno::EINVAL.into()),
            nr::__NR_setgroups
            | nr::__NR_setsid
            | nr::__NR_capset
            | nr::__NR_sethostname
            | nr::__NR_setdomainname
            | nr::__NR_settimeofday
            | nr::__NR_clock_settime
            | nr::__NR_reboot => Err(Errno::EPERM.into()),
            nr::__NR_capget => self.capget(a, b),
            nr::__NR_prctl => self.prctl(a, b),
            nr::__NR_uname => self.uname(a),
            nr::__NR_getrandom => self.getrandom(a, b, c),
            nr::__NR_getrlimit => self.prlimit64(0, a, 0, b),
            nr::__NR_setrlimit => self.prlimit64(0, a, b, 0),
            nr::__NR_prlimit64 => self.prlimit64(a, b, c, d),
            nr::__NR_getrusage => self.getrusage(a, b),
            nr::__NR_times => self.cpu_ticks(a),
            nr::__NR_sysinfo => self.sysinfo(a),
            nr::__NR_getcpu => self.getcpu(a, b),
            nr::__NR_sched_getscheduler
            | nr::__NR_sched_setscheduler
            | nr::__NR_sched_getparam
            | nr::__NR_sched_setparam
            | nr::__NR_sched_rr_get_interval
                if (a as i32) < 0 =>
            {
                Err(Errno::EINVAL.into())
            }
            nr::__NR_sched_getaffinity
            | nr::__NR_sched_setaffinity
            | nr::__NR_sched_getscheduler
            | nr::__NR_sched_setscheduler
            | nr::__NR_sched_getparam
            | nr::__NR_sched_setparam
            | nr::__NR_sched_rr_get_interval
                if self.task(a).is_err() =>
            {
                Err(Errno::ESRCH.into())
            }
            nr::__NR_sched_rr_get_interval => self.sched_rr_get_interval(b),
            nr::__NR_sched_getaffinity => self.sched_getaffinity(b, c),
            nr::__NR_sched_setaffinity => self.sched_setaffinity(b, c),
            nr::__NR_sched_getscheduler => Ok(nr::SCHED_NORMAL.into()),
            nr::__NR_sched_setscheduler => self.sched_setscheduler(b, c),
            nr::__NR_sched_getparam => self.sched_getparam(b),
            nr::__NR_sched_setparam => self.sched_setparam(b),
            nr::__NR_sched_get_priority_max => self.sched_priority(a, true),
            nr::__NR_sched_get_priority_min => self.sched_priority(a, false),
            nr::__NR_getpriority => self.getpriority(a),
            nr::__NR_setpriority => self.setpriority(a, c),
            // No parent, no further groups, one personality, no order among those who read and write, nothing to lock.
            nr::__NR_getppid
            | nr::__NR_getgroups
            | nr::__NR_personality
            | nr::__NR_ioprio_get
            | nr::__NR_ioprio_set
            | nr::__NR_mlockall
            | nr::__NR_munlockall => Ok(0),
            nr::__NR_membarrier => self.membarrier(a),
            nr::__NR_msync => Ok(self.space.msync(a, b, c).map(|()| 0)?),
            nr::__NR_mlock2 if c & !u64::from(nr::MLOCK_ONFAULT) != 0 => Err(Errno::EINVAL.into()),
            nr::__NR_mlock | nr::__NR_mlock2 | nr::__NR_munlock => Ok(self.space.mlock(a, b).map(|()| 0)?),
            nr::__NR_mincore => self.mincore(a, b, c),
            nr::__NR_wait4 if a as i32 == i32::MIN => Err(Errno::ESRCH.into()),
            nr::__NR_wait4 | nr::__NR_waitid => Err(Errno::ECHILD.into()),
            nr::__NR_fork | nr::__NR_vfork => self.refuse_process(),
            _ => self.socket_call(number, arguments),
        }
    }

    /// There is one process: another is refused, and counted.
    pub(super) fn refuse_process(&mut self) -> Answer {
        self.refused.processes = self.refused.processes.saturating_add(1);
        Err(Errno::ENOSYS.into())
    }

    /// A call that there is not here.
    pub(super) fn unserved(&mut self, number: u32) -> Answer {
        // Programs take the refusal of rseq(2) well, and do without.
        if number != nr::__NR_rseq {
            *self.unserved.entry(number.min(CALLS_END)).or_default() += 1;
        }
        Err(Errno::ENOSYS.into())
    }
}

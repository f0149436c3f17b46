//! Which call is which.

use super::{Answer, Frame, Machine, Process, Stop, identity};
use crate::errno::Errno;
use linux_raw_sys::general as nr;

impl<M: Machine> Process<M> {
    pub(super) fn answer(&mut self, number: u32, arguments: [u64; 6], frame: &mut Frame) -> Answer {
        let [a, b, c, d, e, f] = arguments;
        match number {
            nr::__NR_write => self.write(a, b, c),
            nr::__NR_writev => self.writev(a, b, c),
            nr::__NR_read => self.read(a, b, c),
            nr::__NR_close => Ok(self.descriptor(a).map(|_| 0)?),
            nr::__NR_ioctl => Err(Errno::ENOTTY.into()),
            nr::__NR_fstat => self.fstat(a, b),
            nr::__NR_newfstatat => self.newfstatat(a, b, c, d),
            nr::__NR_readlink => self.readlink(a, b, c),
            nr::__NR_readlinkat => self.readlink(b, c, d),
            nr::__NR_open | nr::__NR_openat | nr::__NR_access => Err(Errno::ENOENT.into()),
            nr::__NR_poll => Ok(0),
            nr::__NR_fcntl => Ok(self.descriptor(a).map(|_| 0)?),
            _ => self.answer_without_files(number, [a, b, c, d, e, f], frame),
        }
    }

    fn answer_without_files(&mut self, number: u32, arguments: [u64; 6], frame: &mut Frame) -> Answer {
        let [a, b, c, d, e, f] = arguments;
        match number {
            nr::__NR_mmap => self.mmap([a, b, c, d, e, f]),
            nr::__NR_munmap => Ok(self.space.munmap(a, b).map(|()| 0)?),
            nr::__NR_mprotect => Ok(self.space.mprotect(a, b, c).map(|()| 0)?),
            nr::__NR_mremap => Ok(self.space.mremap(a, b, c, d, e)?),
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
            nr::__NR_getuid | nr::__NR_geteuid | nr::__NR_getgid | nr::__NR_getegid => Ok(identity::USER),
            nr::__NR_getppid => Ok(0),
            nr::__NR_uname => self.uname(a),
            nr::__NR_sched_getaffinity => self.sched_getaffinity(b, c),
            nr::__NR_prlimit64 => self.prlimit64(b, c, d),
            nr::__NR_getrandom => self.getrandom(a, b),
            nr::__NR_clock_gettime => self.clock_gettime(a, b),
            nr::__NR_clock_getres => self.clock_getres(a, b),
            nr::__NR_gettimeofday => self.gettimeofday(a),
            nr::__NR_time => self.time(a),
            // Programs take the refusal well, and do without.
            nr::__NR_rseq => Err(Errno::ENOSYS.into()),
            _ => {
                *self.unserved.entry(number).or_default() += 1;
                Err(Errno::ENOSYS.into())
            }
        }
    }
}

//! Sockets, as a program calls them: structures in its memory, and times.
use super::{DATA, NOWHERE, PROGRAM, Program, TEXT};
use crate::errno::Errno;
use linux_raw_sys::{general as nr, net as abi};

/// Where structures are put.
const HEADER: u64 = TEXT + 0x1000;
const VECTOR: u64 = TEXT + 0x1100;
const CONTROL: u64 = TEXT + 0x1200;
const LENGTH: u64 = TEXT + 0x1300;
const NAME: u64 = TEXT + 0x1400;
const THREAD: u64 = 0x5_0f00;
const MS: u64 = 1_000_000;
/// `AF_INET`, port 80, 127.0.0.1.
const LOCALHOST: u64 = 0x0100_007f_5000_0002;

impl Program {
    fn socketpair(&mut self, kind: u32) -> (u64, u64) {
        self.try_call(nr::__NR_socketpair, [1, kind.into(), 0, DATA]).unwrap();
        let both = self.word(DATA);
        (both & 0xffff_ffff, both >> 32)
    }

    /// A `struct msghdr` with `bytes` at DATA and so many of control messages.
    fn header(&mut self, bytes: u64, control: u64) {
        self.put(VECTOR, &[DATA, bytes]);
        self.put(HEADER, &[0, 0, VECTOR, 1, CONTROL, control, 0]);
    }

    fn set_receive_timeout(&mut self, socket: u64, ms: u64) {
        self.put(TEXT, &[0, ms * 1000]);
        let name = abi::SO_RCVTIMEO_OLD.into();
        self.try_call(nr::__NR_setsockopt, [socket, 1, name, TEXT, 16]).unwrap();
    }
}

#[test]
fn descriptors_and_credentials_come_in_control_messages() {
    let mut p = Program::new();
    let (one, other) = p.socketpair(abi::SOCK_STREAM);
    p.put(TEXT, &[1]);
    p.try_call(nr::__NR_setsockopt, [other, 1, abi::SO_PASSCRED.into(), TEXT, 4]).unwrap();
    let file = p.open("/in/numbers", 0);
    p.put(CONTROL, &[20, 1 | 1 << 32, file]);
    p.header(3, 24);
    p.process.space.pages().poke(DATA, b"abc");
    assert_eq!(p.try_call(nr::__NR_sendmsg, [one, HEADER, 0]), Ok(3));
    p.header(100, 100);
    assert_eq!((p.try_call(nr::__NR_recvmsg, [other, HEADER, 0]), p.bytes(DATA, 3)), (Ok(3), b"abc".to_vec()));
    // 12 bytes of credentials, and one descriptor.
    assert_eq!((p.word(CONTROL), p.word(CONTROL + 8), p.word(CONTROL + 16)), (28, 1 | 2 << 32, 1));
    assert_eq!((p.word(CONTROL + 32), p.word(CONTROL + 40)), (20, 1 | 1 << 32));
    assert_eq!((p.word(HEADER + 40), p.word(HEADER + 48) as u32), (56, 0));
    let brought = p.word(CONTROL + 48) & 0xffff_ffff;
    assert!(brought > file);
    assert_eq!((p.try_call(nr::__NR_read, [brought, DATA, 4]), p.bytes(DATA, 4)), (Ok(4), b"0123".to_vec()));
    // Without room they are closed, and that is told.
    p.put(CONTROL, &[20, 1 | 1 << 32, file]);
    p.header(3, 24);
    p.try_call(nr::__NR_sendmsg, [one, HEADER, 0]).unwrap();
    p.header(100, 0);
    assert_eq!(p.try_call(nr::__NR_recvmsg, [other, HEADER, 0]), Ok(3));
    assert_eq!(p.word(HEADER + 48) as u32, abi::MSG_CTRUNC);
    for (words, error) in [
        ([15, 1 | 1 << 32, 0], Errno::EINVAL),
        ([25, 1 | 1 << 32, 0], Errno::EINVAL),
        ([24, 1 | 9 << 32, 0], Errno::EINVAL),
        ([20, 1 | 1 << 32, 99], Errno::EBADF),
        ([24, 1 | 2 << 32, 1], Errno::EINVAL),
    ] {
        p.put(CONTROL, &words);
        p.header(3, 24);
        assert_eq!(p.try_call(nr::__NR_sendmsg, [one, HEADER, 0]), Err(error), "{words:?}");
    }
    assert_eq!(p.try_call(nr::__NR_recvmsg, [other, NOWHERE, 0]), Err(Errno::EFAULT));
    p.put(HEADER, &[0, 0, VECTOR, 1025, 0, 0, 0]);
    assert_eq!(p.try_call(nr::__NR_sendmsg, [one, HEADER, 0]), Err(Errno::EMSGSIZE));
}

#[test]
fn a_server_and_a_client_take_turns() {
    let mut p = Program::new();
    p.put(NAME, &[LOCALHOST, 0]);
    let server = p.try_call(nr::__NR_socket, [2, 1, 0]).unwrap();
    p.try_call(nr::__NR_bind, [server, NAME, 16]).unwrap();
    p.try_call(nr::__NR_listen, [server, 5]).unwrap();
    p.try_call(nr::__NR_clone, [THREAD, PROGRAM + 0x1000, 0, 0, 0]).unwrap();
    p.put(LENGTH, &[12]);
    // The first thread waits for a connection, so the second runs and connects.
    assert_eq!(p.call(nr::__NR_accept, [server, NAME + 64, LENGTH]), 0);
    let client = p.try_call(nr::__NR_socket, [2, 1, 0]).unwrap();
    assert_eq!(p.try_call(nr::__NR_connect, [client, NAME, 16]), Ok(0));
    let text = p.text(0, "request");
    p.try_call(nr::__NR_sendto, [client, text, 7, 0, 0, 0]).unwrap();
    let accepted = p.call(nr::__NR_exit, [0]);
    assert_eq!((p.word(LENGTH) as u32, p.word(NAME + 64) as u16, p.word(NAME + 68) as u32), (16, 2, 0x0100_007f));
    p.put(LENGTH, &[16]);
    assert_eq!(p.try_call(nr::__NR_recvfrom, [accepted, DATA, 3, 0, NAME + 64, LENGTH]), Ok(3));
    assert_eq!((p.bytes(DATA, 3), p.word(LENGTH) as u32), (b"req".to_vec(), 0));
    p.put(LENGTH, &[4]);
    let option = |name: u32| [client, 1, name.into(), DATA, LENGTH];
    assert_eq!((p.try_call(nr::__NR_getsockopt, option(abi::SO_TYPE)), p.word(DATA) as u32), (Ok(0), 1));
    assert_eq!(p.try_call(nr::__NR_getsockopt, [client, 1, 4, DATA, NOWHERE]), Err(Errno::EFAULT));
    p.put(LENGTH, &[u64::MAX]);
    assert_eq!(p.try_call(nr::__NR_getsockopt, option(abi::SO_TYPE)), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_getpeername, [0, NAME, LENGTH]), Err(Errno::ENOTSOCK));
    assert_eq!(p.try_call(nr::__NR_bind, [client, NAME, 200]), Err(Errno::EINVAL));
}

#[test]
fn a_wait_at_a_socket_has_its_time() {
    let mut p = Program::new();
    let (one, other) = p.socketpair(abi::SOCK_DGRAM);
    p.set_receive_timeout(one, 30);
    assert_eq!(p.try_call(nr::__NR_read, [one, DATA, 1]), Err(Errno::EAGAIN));
    assert_eq!(p.outside.borrow().now_ns, 30 * MS);
    p.put(LENGTH, &[16]);
    let told = p.try_call(nr::__NR_getsockopt, [one, 1, abi::SO_RCVTIMEO_OLD.into(), DATA, LENGTH]);
    assert_eq!((told, p.word(DATA), p.word(DATA + 8)), (Ok(0), 0, 30_000));
    p.put(TEXT, &[0, 1_000_000]);
    let late = [one, 1, abi::SO_RCVTIMEO_OLD.into(), TEXT, 16];
    assert_eq!(p.try_call(nr::__NR_setsockopt, late), Err(Errno::EDOM));
    // A signal ends it, also if its handler asks for calls to be made again.
    p.alarm_with(10, 0x1000_0000);
    p.call(nr::__NR_recvfrom, [one, DATA, 1, 0, 0, 0]);
    assert_eq!(p.leave_handler(), Errno::EINTR.rax());
    // Several messages at once: those that came in time.
    for _ in 0..2 {
        p.try_call(nr::__NR_write, [other, DATA, 5]).unwrap();
    }
    p.put(VECTOR, &[DATA, 10]);
    for message in 0..3 {
        p.put(HEADER + 64 * message, &[0, 0, VECTOR, 1, 0, 0, 0, 0]);
    }
    assert_eq!(p.try_call(nr::__NR_recvmmsg, [one, HEADER, 3, 0, 0]), Ok(2));
    assert_eq!((p.word(HEADER + 56), p.word(HEADER + 120)), (5, 5));
    assert_eq!(p.try_call(nr::__NR_sendmmsg, [one, HEADER, 3, 0]), Ok(3));
    assert_eq!(p.try_call(nr::__NR_recvmmsg, [other, HEADER, 3, 0x1_0000, 0]), Ok(3));
}

#[test]
fn what_nobody_reads_is_a_signal_unless_that_is_not_wanted() {
    let mut p = Program::new();
    let (one, other) = p.socketpair(abi::SOCK_STREAM);
    p.try_call(nr::__NR_close, [other]).unwrap();
    let quiet = [one, DATA, 1, abi::MSG_NOSIGNAL.into(), 0, 0];
    assert_eq!(p.try_call(nr::__NR_sendto, quiet), Err(Errno::EPIPE));
    p.put(TEXT, &[PROGRAM + 0x200, 0x0400_0000, PROGRAM + 0x300, 0]);
    p.try_call(nr::__NR_rt_sigaction, [13, TEXT, 0, 8]).unwrap();
    p.call(nr::__NR_sendto, [one, DATA, 1, 0, 0, 0]);
    assert_eq!((p.frame.rip, p.frame.rdi), (PROGRAM + 0x200, 13));
}

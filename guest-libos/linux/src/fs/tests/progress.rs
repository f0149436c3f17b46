//! How far the job is.
use super::{NOW, new};
use crate::{
    errno::Errno,
    fs::{Now, Stop},
};
use linux_raw_sys::general as abi;

const DEVICE: &[u8] = b"/dev/denali/progress";
const CWD: i32 = abi::AT_FDCWD;

#[test]
fn thousandths_are_told_and_all_else_is_refused() {
    let (mut fs, streams) = new();
    streams.borrow_mut().has_job = true;
    // As a shell opens it.
    let fd = fs.openat(CWD, DEVICE, abi::O_WRONLY | abi::O_CREAT | abi::O_TRUNC, 0o666).unwrap();
    for good in [&b"0"[..], b"10", b"100\n", b"0250", b"1000\n"] {
        assert_eq!(fs.write(fd, good), Ok(good.len()));
    }
    assert_eq!(streams.borrow().progress, [10, 100, 250, 1000]);
    for bad in
        [&b""[..], b"\n", b"1001", b"+5", b"-5", b" 5", b"5 ", b"5\n\n", b"5\n6", b"0.5", b"5%", b"\xff", b"99999"]
    {
        assert_eq!(fs.write(fd, bad), Err(Stop::Error(Errno::EINVAL)), "{bad:?}");
    }
    assert_eq!(streams.borrow().progress.len(), 4);
    assert_eq!(fs.writev(fd, &[b"5", b"00"], None), Ok(3));
    let fd = fs.openat(CWD, DEVICE, abi::O_RDONLY, 0).unwrap();
    assert_eq!(fs.read(fd, &mut [0; 8]), Ok(0));
    assert_eq!(fs.write(fd, b"1"), Err(Stop::Error(Errno::EBADF)));
}

/// What is told where this is said, each so many milliseconds after the start.
fn told(said: impl IntoIterator<Item = (u16, u64)>) -> Vec<u16> {
    let (mut fs, streams) = new();
    streams.borrow_mut().has_job = true;
    let fd = fs.openat(CWD, DEVICE, abi::O_WRONLY, 0).unwrap();
    for (permille, after_ms) in said {
        streams.borrow_mut().now = Now { monotonic_ns: NOW.monotonic_ns + after_ms * 1_000_000, ..NOW };
        fs.write(fd, permille.to_string().as_bytes()).unwrap();
    }
    streams.take().progress
}

#[test]
fn small_steps_wait_and_are_told_in_time() {
    let hundredths: Vec<u16> = (0..100).map(|step| 1 + step * 10).chain([1000]).collect();
    assert_eq!(told((0..=1000).map(|permille| (permille, 0))), hundredths);
    assert_eq!(told([(5, 0), (6, 99), (6, 100), (7, 199), (7, 200)]), [5, 6, 7]);
    assert_eq!(told([(7, 0), (3, 900), (999, 900), (1000, 900), (1000, 2000)]), [7, 999, 1000]);
}

#[test]
fn what_is_said_before_there_is_a_job_is_of_none() {
    let (mut fs, streams) = new();
    let fd = fs.openat(CWD, DEVICE, abi::O_WRONLY, 0).unwrap();
    assert_eq!(fs.write(fd, b"1000"), Ok(4));
    streams.borrow_mut().has_job = true;
    assert_eq!(fs.write(fd, b"20"), Ok(2));
    assert_eq!(streams.borrow().progress, [20]);
}

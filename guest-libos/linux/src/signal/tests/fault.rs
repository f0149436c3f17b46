//! Faults become signals.
use super::*;
use linux_raw_sys::general as raw;

fn said(vector: u64, error_code: u64, mapped: bool, floating: u32) -> (Signal, i32, u64) {
    let fault = Fault { vector, error_code, address: 0x77, rip: 0x55, mapped, floating };
    let info = fault.info();
    (info.signal(), info.code(), info.address())
}

#[test]
fn each_exception_has_its_signal() {
    assert_eq!(said(0, 0, false, 0), (Signal::SIGFPE, 1, 0x55));
    assert_eq!(said(3, 0, false, 0), (Signal::SIGTRAP, 0x80, 0));
    assert_eq!(said(13, 0x1a, false, 0), (Signal::SIGTRAP, 0x80, 0));
    assert_eq!(said(6, 0, false, 0), (Signal::SIGILL, 2, 0x55));
    assert_eq!(said(12, 0, false, 0), (Signal::SIGBUS, 0x80, 0));
    assert_eq!(said(13, 0, false, 0), (Signal::SIGSEGV, 0x80, 0));
    assert_eq!(said(14, 4, false, 0), (Signal::SIGSEGV, 1, 0x77));
    assert_eq!(said(14, 7, true, 0), (Signal::SIGSEGV, 2, 0x77));
    assert_eq!(said(17, 0, false, 0), (Signal::SIGBUS, 1, 0));
    // MXCSR with all masked but division by zero, which is flagged.
    assert_eq!(said(19, 0, false, 0x1f80 & !0x200 | 4), (Signal::SIGFPE, 3, 0x55));
    assert_eq!(said(16, 0, false, 1), (Signal::SIGFPE, 7, 0x55));
    assert_eq!(said(99, 0, false, 0).0, Signal::SIGSEGV);
    assert_eq!(Fault { vector: 13, error_code: 0x1a, rip: 5, ..Fault::default() }.resume(), 6);
}

#[test]
fn a_fault_is_never_left_waiting() {
    for ignored in [false, true] {
        let mut signals = two();
        handle(&mut signals, 11, 0);
        if ignored {
            let action = Action { handler: 1, ..Action::default() };
            signals.sigaction(11, Some(action), 8).unwrap();
        } else {
            block(&mut signals, OTHER, &[11]);
        }
        signals.force(OTHER, Fault { vector: 14, ..Fault::default() }.info());
        let end = Delivery::Terminate { signal: Signal::SIGSEGV };
        assert_eq!(signals.deliver(OTHER, at(0)), end);
    }
}

#[test]
fn a_fault_with_a_handler_comes_before_all_else() {
    let mut signals = two();
    handle(&mut signals, 11, 0);
    handle(&mut signals, 1, 0);
    signals.tgkill(10, 11, 1).unwrap();
    signals.force(OTHER, Fault { vector: 14, address: 9, ..Fault::default() }.info());
    let handler = handled(&mut signals, OTHER).unwrap();
    assert_eq!((handler.info.signal(), handler.info.address()), (Signal::SIGSEGV, 9));
}

#[test]
fn a_frame_without_a_place_ends_the_process_at_last() {
    let mut signals = two();
    handle(&mut signals, 10, 0);
    handle(&mut signals, 11, raw::SA_ONSTACK);
    signals.frame_failed(MAIN, Some(Signal::SIGUSR1));
    assert_eq!(handled(&mut signals, MAIN).unwrap().info.signal(), Signal::SIGSEGV);
    signals.frame_failed(MAIN, Some(Signal::SIGSEGV));
    assert_eq!(signals.deliver(MAIN, at(0)), Delivery::Terminate { signal: Signal::SIGSEGV });
}

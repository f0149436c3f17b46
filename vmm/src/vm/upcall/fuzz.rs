//! A hostile control page, entry by entry: what the VMM writes back and continues with, against the contract in other words.

use super::{armed, at_entry, comes_first, fault, interrupt, latch, welcome};
use crate::{kvm::Registers, vm::fault as faults};
use arbitrary::{Result, Unstructured};
use denali_abi::registers::{Control, FaultRecord, IN_UPCALL, Interrupted, TICK_US_MIN, pending};

/// Faults that a handler may get, as the contract lists them; 32 stands for `syscall`.
const DELIVERED: [u64; 11] = [0, 3, 6, 11, 12, 13, 14, 16, 17, 19, 32];
const CARRY_TO_OVERFLOW: u64 = 0xcd5;

/// Enters a VM again and again, with the control pages, times and faults that `data` describe.
pub fn upcalls(data: &[u8]) {
    // It ends where the bytes do.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let memory_bytes = u.int_in_range(1..=4096)? << 22;
    for _ in 0..16 {
        if u.is_empty() {
            break;
        }
        let control = control(u)?;
        let registers =
            Registers { rip: word(u)?, rsp: word(u)?, rflags: word(u)?, rcx: word(u)?, ..Registers::default() };
        let now_ns = word(u)?;
        check_latch(&control, word(u)? & pending::ALL, now_ns);
        check_interrupt(&control, registers, memory_bytes);
        let at = Interrupted { rip: registers.rip, rflags: registers.rflags, rsp: word(u)? };
        let vector = if u.ratio(3, 4)? { *u.choose(&DELIVERED)? } else { word(u)? };
        let record = FaultRecord { at, vector, error_code: word(u)?, address: word(u)? };
        check_fault(&control, record, registers, memory_bytes);
    }
    Ok(())
}

fn check_latch(control: &Control, happened: u64, now_ns: u64) {
    let (causes, timer_ns) = latch(control, happened, now_ns);
    assert_eq!(causes & !pending::TIMER, (control.causes & pending::ALL | happened) & !pending::TIMER);
    let never = [0, u64::MAX].contains(&control.timer_ns) || control.upcall_entry == 0;
    assert_eq!(armed(control), (!never).then_some(control.timer_ns));
    if never || control.timer_ns > now_ns {
        assert_eq!(
            (timer_ns, causes & pending::TIMER),
            (control.timer_ns, (control.causes | happened) & pending::TIMER)
        );
        return;
    }
    assert_ne!(causes & pending::TIMER, 0);
    let period = control.timer_period_ns.max(TICK_US_MIN * 1000);
    if control.timer_period_ns == 0 {
        assert_eq!(timer_ns, 0);
    } else if timer_ns != 0 {
        let ahead = timer_ns.checked_sub(now_ns).expect("the next time lies ahead");
        assert!(0 < ahead && ahead <= period && (timer_ns - control.timer_ns).is_multiple_of(period));
    } else {
        assert!(now_ns.checked_add(period).is_none(), "a time that could be named was given up");
    }
}

fn check_interrupt(control: &Control, registers: Registers, memory_bytes: u64) {
    let wanted = control.interrupts_enabled != 0 && control.upcall_entry != 0;
    assert_eq!(welcome(control, registers.rflags), wanted && registers.rflags & IN_UPCALL == 0);
    match interrupt(control, registers, memory_bytes) {
        Ok((interrupted, entered)) => {
            assert!(control.upcall_entry < memory_bytes);
            check_entered(interrupted, entered, registers, control.upcall_entry);
            assert_eq!((interrupted.rip, interrupted.rsp), (registers.rip, registers.rsp));
            assert_eq!(entered.rsp, registers.rsp);
        }
        Err(error) => assert!(control.upcall_entry >= memory_bytes && !error.to_string().is_empty()),
    }
}

/// It continues at `entry`, with no flag but the two, and gets back no flag that only CPL 0 sets.
fn check_entered(interrupted: Interrupted, entered: Registers, registers: Registers, entry: u64) {
    assert_eq!((entered.rip, entered.rflags), (entry, IN_UPCALL | 2));
    assert_eq!(entered, Registers { rip: entered.rip, rsp: entered.rsp, rflags: entered.rflags, ..registers });
    let kept = CARRY_TO_OVERFLOW | 1 << 8 | 1 << 14 | 1 << 18 | IN_UPCALL;
    assert_eq!(interrupted.rflags, registers.rflags & kept | 2);
}

fn check_fault(control: &Control, record: FaultRecord, registers: Registers, memory_bytes: u64) {
    let report = faults::report(&record);
    assert!(!report.to_string().is_empty() && report.cause == faults::cause(&record));
    let first = control.upcall_entry != 0 && control.interrupts_enabled != 0 && record.at.rflags & IN_UPCALL == 0;
    assert_eq!(comes_first(control, &record), first && ![3, 32].contains(&record.vector));
    let handled = DELIVERED.contains(&record.vector) && control.fault_entry != 0 && control.in_fault == 0;
    match fault(control, record, registers, memory_bytes) {
        None => assert!(!handled),
        Some(Ok((delivered, entered))) => {
            assert!(handled && control.fault_entry < memory_bytes);
            check_entered(delivered.at, entered, registers, control.fault_entry);
            assert_eq!(entered.rsp, record.at.rsp);
            assert_eq!(FaultRecord { at: record.at, ..delivered }, record);
        }
        Some(Err(error)) => {
            assert!(handled && control.fault_entry >= memory_bytes);
            assert_eq!(at_entry("fault", control.fault_entry, registers, memory_bytes), Err(error));
        }
    }
}

fn control(u: &mut Unstructured<'_>) -> Result<Control> {
    Ok(Control {
        interrupts_enabled: word(u)?,
        upcall_entry: word(u)?,
        fault_entry: word(u)?,
        timer_ns: word(u)?,
        timer_period_ns: word(u)?,
        causes: word(u)?,
        in_fault: word(u)?,
        ..Control::default()
    })
}

/// Words that mean something to a control page, and any.
fn word(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=7u8)? {
        0 => 0,
        1 => u64::MAX,
        2 => u.arbitrary()?,
        3 => 1 << u.int_in_range(0..=63)?,
        4 => u64::MAX - u64::from(u.arbitrary::<u32>()?),
        5 => u.arbitrary::<u16>()?.into(),
        _ => u.arbitrary::<u32>()?.into(),
    })
}

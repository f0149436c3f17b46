//! Interrupts and faults that a guest takes itself, on KVM; and what it may do to the words that say where.

mod guest;

use denali_abi::{
    instruction::{IDLE, IDLE_FOREVER},
    memory::{CONTROL, IMAGE_BASE, SUPERVISOR_BASE},
    registers::{Control, IN_UPCALL, SYSTEM_CALL, pending},
};
use denali_protocol::job::{Access, FaultCause, Outcome};
use guest::{Asm, DATA, Ended, Job, Reg, Worker, fault, guest, run};
use proptest::prelude::*;
use std::{
    arch::global_asm,
    io::Write,
    mem::offset_of,
    thread,
    time::{Duration, Instant},
};

global_asm!(include_str!("guest/upcalls.s"), options(raw));

/// Runs a guest to the end of its code, and sends its result.
fn result(code: Asm) -> Ended {
    let ended = run(&code.send_result().terminate(0));
    assert_eq!(ended.outcome, Outcome::Exited(0));
    ended
}

fn set(field: usize, value: u64) -> Asm {
    Asm::new().mov(Reg::Rax, value).store_rax(CONTROL + field as u64)
}

#[test]
fn an_upcall_is_delivered_once_and_resumed_without_an_exit() {
    let ended = result(guest!(guest_once, guest_once_end));
    assert_eq!((ended.word(0), ended.word(1)), (1, pending::RECEIVE));
    let exits = ended.usage.exits;
    assert_eq!((exits.idle, exits.terminate, exits.fault), (8, 1, 0), "{exits:?}");
}

#[test]
fn causes_come_together() {
    let ended = result(guest!(guest_batched, guest_batched_end));
    assert_eq!((ended.word(0), ended.word(1)), (1, pending::RECEIVE | pending::TIMER));
}

#[test]
fn upcalls_are_never_nested() {
    let ended = result(guest!(guest_greedy, guest_greedy_end));
    assert_eq!((ended.word(1), ended.word(2)), (0, 1), "how deep, the deepest");
    assert_eq!(ended.word(0), 8, "one for each IDLE outside of an upcall");
}

#[test]
fn all_of_the_interrupted_context_is_preserved() {
    let ended = result(guest!(guest_context, guest_context_end));
    assert_eq!((ended.word(1), ended.word(3)), (0, 0xcd5), "what changed, flags");
    assert!(ended.word(0) >= 40);
}

/// Upcalls in 200 ms of spinning with a timer of this period.
fn cadence(period_ns: u64) -> Ended {
    result(guest!(guest_cadence, guest_cadence_end).with_r15(period_ns))
}

#[test]
fn the_timer_comes_about_on_time() {
    for period_ms in [1, 10] {
        let ended = cadence(period_ms * 1_000_000);
        // On a busy host it runs for a part of the 200 ms only.
        let least = ended.usage.cpu_us / 1000 / period_ms / 2;
        let most = 200 / period_ms + 5;
        assert!(
            (least..=most).contains(&ended.word(0)),
            "{period_ms} ms: {} upcalls, {:?}",
            ended.word(0),
            ended.usage
        );
        assert_eq!(ended.word(1) & pending::TIMER, pending::TIMER);
    }
}

#[test]
fn a_timer_of_no_time_forces_few_exits() {
    for period_ns in [1, 1000, u64::MAX] {
        let ended = cadence(period_ns);
        // One per 500 µs, and one per slice.
        assert!(ended.word(0) <= 405, "{period_ns} ns: {} upcalls", ended.word(0));
        assert!(ended.usage.exits.interrupted <= 405 + 15, "{:?}", ended.usage.exits);
    }
}

#[test]
fn no_wake_up_is_lost_while_upcalls_go_on_and_off() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let code = guest!(guest_packets, guest_packets_end).send_result().terminate(0);
    let mut job = Job::new(&code);
    job.input = reader.into();
    (job.limits.cpu_time_us, job.limits.wall_time_us) = (20_000_000, 20_000_000);
    let writer = thread::spawn(move || {
        let mut sent = 0;
        for n in 0..400u64 {
            let piece = vec![7; (n * 37 % 5000 + 1) as usize];
            writer.write_all(&piece).expect("a reader");
            sent += piece.len() as u64;
            thread::sleep(Duration::from_micros(n * 131 % 3000));
        }
        sent
    });
    let ended = Worker::start().run(job);
    assert_eq!(ended.outcome, Outcome::Exited(0));
    assert_eq!(ended.word(1), writer.join().expect("it wrote"));
}

#[test]
fn an_idle_vm_wakes_for_causes_that_it_does_not_want_yet() {
    let ended = result(guest!(guest_masked, guest_masked_end));
    assert_eq!((ended.word(0), ended.word(1)), (0, pending::TIMER));
    assert_eq!(ended.usage.exits.idle, 2);
    assert!((100_000..1_000_000).contains(&ended.usage.wall_us), "{:?}", ended.usage);
}

#[test]
fn an_entry_that_is_nowhere_ends_the_vm() {
    for entry in [8 << 20, SUPERVISOR_BASE, SUPERVISOR_BASE + 0x5000, 1 << 47, 1 << 63, u64::MAX] {
        let code = set(offset_of!(Control, interrupts_enabled), 1)
            .raw(&set(offset_of!(Control, upcall_entry), entry).0)
            .instruction(IDLE, 0, 0, 0);
        let (cause, at) = fault(&code.clone().terminate(0));
        assert!(matches!(&cause, FaultCause::Upcall { detail } if detail.starts_with("the upcall entry")), "{cause:?}");
        assert_eq!(at, IMAGE_BASE + code.0.len() as u64);
        let code = set(offset_of!(Control, fault_entry), entry);
        let at_fault = IMAGE_BASE + code.0.len() as u64;
        let (cause, at) = fault(&code.raw(&[0x0f, 0x0b]));
        assert!(
            matches!(&cause, FaultCause::Upcall { detail }
                if detail.starts_with("the fault entry") && detail.ends_with("invalid instruction")),
            "{cause:?}"
        );
        assert_eq!(at, at_fault);
    }
}

#[test]
fn an_entry_where_nothing_can_run_faults_there() {
    for entry in [8, CONTROL, DATA + 0x4000] {
        let code =
            set(offset_of!(Control, interrupts_enabled), 1).raw(&set(offset_of!(Control, upcall_entry), entry).0);
        for code in [code.clone(), code.raw(&set(offset_of!(Control, fault_entry), entry).0)] {
            let (cause, at) = fault(&code.instruction(IDLE, 0, 0, 0).terminate(0));
            assert_eq!(cause, FaultCause::Page { address: entry, access: Access::Execute });
            assert_eq!(at, entry);
        }
    }
}

#[test]
fn a_fault_is_delivered_and_resumed() {
    let code = guest!(guest_divide, guest_divide_end);
    let divide = code.0.windows(3).position(|bytes| bytes == [0x48, 0xf7, 0xf1]).expect("a division") as u64;
    let ended = result(code);
    let words: Vec<u64> = (0..6).map(|n| ended.word(n)).collect();
    assert_eq!(words, [0, 0, 0, IMAGE_BASE + divide, 0x1234_5678_9abc, 0x1234_5678_9abc]);
    assert_eq!(ended.word(6) & (0x400 | 1 | IN_UPCALL), IN_UPCALL, "flags in the handler");
    assert_eq!(ended.word(7) & (0x400 | 1 | IN_UPCALL), 0x401, "flags after it");
    assert_eq!(ended.word(8), 0x1234_5678_9abc);
    assert_eq!(ended.usage.exits.fault, 1);
}

#[test]
fn system_calls_are_delivered_and_served() {
    let ended = result(guest!(guest_served, guest_served_end));
    assert_eq!(ended.word(0), 2 * SYSTEM_CALL);
    assert_eq!((ended.word(1), ended.word(3)), (0, 0), "RIP is what RCX says, RSP what it was");
    assert_eq!((ended.word(2), ended.word(4)), (107 + 120, 1), "answers, a flag");
    assert_eq!(ended.usage.exits.fault, 2);
}

#[test]
fn faults_of_every_kind_are_delivered() {
    let ended = result(guest!(guest_kinds, guest_kinds_end));
    // Whether a program may use the gate of `int3` is KVM's to say: it is a breakpoint, or a violation.
    assert_eq!(ended.word(0) & !(1 << 3), 1 << 6 | 1 << 12 | 1 << 13 | 1 << 14);
    assert_eq!(ended.word(1), 8 | 0x1000 | 0x4000, "addresses of page faults");
}

/// Software KVM can be interrupted in the middle of a stub: no upcall may be made there.
#[test]
fn faults_and_upcalls_do_not_disturb_each_other() {
    let ended = result(guest!(guest_both, guest_both_end));
    assert!(ended.word(0) > 10, "{} upcalls", ended.word(0));
    assert_eq!((ended.word(2), ended.word(3)), (4000, 4000));
}

#[test]
fn a_fault_before_the_last_is_done_ends_the_vm() {
    let (cause, at) = fault(&guest!(guest_twice, guest_twice_end));
    assert_eq!((cause, at), (FaultCause::InvalidInstruction, IMAGE_BASE + 2));
    let (cause, _) = fault(&guest!(guest_circle, guest_circle_end));
    assert_eq!(cause, FaultCause::InvalidInstruction);
}

#[test]
fn faults_without_end_come_to_the_cpu_limit() {
    let code = guest!(guest_orbit, guest_orbit_end);
    let mut job = Job::new(&code);
    job.limits.cpu_time_us = 200_000;
    let ended = Worker::start().run(job);
    assert!(matches!(ended.outcome, Outcome::TimeLimit { .. }), "{ended:?}");
    assert!(ended.usage.cpu_us < 300_000, "{:?}", ended.usage);
}

/// The guest ends with 9 when it is told.
fn told(code: &Asm, cpu_us: u64, wall_us: u64) -> Ended {
    let mut job = Job::new(code);
    (job.limits.cpu_time_us, job.limits.wall_time_us) = (cpu_us, wall_us);
    Worker::start().run(job)
}

#[test]
fn a_vm_about_to_be_stopped_is_told() {
    let spin = guest!(guest_stopping, guest_stopping_end).spin();
    let sleep = guest!(guest_stopping, guest_stopping_end).instruction(IDLE, IDLE_FOREVER, 0, 0).raw(&[0xeb, 0xfc]);
    let ended = told(&spin, 300_000, 20_000_000);
    assert_eq!(ended.outcome, Outcome::Exited(9));
    assert!((250_000..300_000).contains(&ended.usage.cpu_us), "{:?}", ended.usage);
    // On a busy host a VM may not run at all in its last 50 ms.
    for code in [&spin, &sleep] {
        let ended = (0..10).map(|_| told(code, 20_000_000, 300_000)).find(|ended| ended.outcome == Outcome::Exited(9));
        let usage = ended.expect("told in one of ten runs").usage;
        assert!((250_000..330_000).contains(&usage.wall_us), "{usage:?}");
    }
}

#[test]
fn nothing_of_a_job_is_left_for_the_next() {
    let code = guest!(guest_leftovers, guest_leftovers_end);
    let mut worker = Worker::start();
    for _ in 0..4 {
        assert_eq!(worker.run(Job::new(&code)).outcome, Outcome::Exited(0));
    }
}

/// Words that are odd in one way or another.
fn word() -> impl Strategy<Value = u64> {
    let places = [0, 1, IMAGE_BASE, IMAGE_BASE + 7, DATA, CONTROL, SUPERVISOR_BASE + 0x5000, 1 << 47, u64::MAX];
    prop_oneof![
        proptest::sample::select(places.to_vec()),
        any::<u64>(),
        (0..64u32).prop_map(|bit| 1 << bit),
        0..10_000_000u64,
        IMAGE_BASE..IMAGE_BASE + 2000,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the control page holds, the worker answers in bounded time; and it lives on.
    #[test]
    fn any_control_page_comes_to_an_end(
        words in proptest::collection::vec((2usize..18, word()), 1..24),
        idle in any::<bool>(),
    ) {
        let mut code = Asm::new();
        for (n, (field, value)) in words.iter().enumerate() {
            code = code.raw(&set(8 * field, *value).0);
            if n % 8 == 7 {
                code = code.instruction(IDLE, 0, 0, 0);
            }
        }
        let until = if idle { IDLE_FOREVER } else { 0 };
        // ud2 between IDLEs, and a spin.
        let code = code.instruction(IDLE, until, 0, 0).raw(&[0x0f, 0x0b]).instruction(IDLE, until, 0, 0).spin();
        let mut job = Job::new(&code);
        (job.limits.cpu_time_us, job.limits.wall_time_us) = (60_000, 120_000);
        let mut worker = Worker::start();
        let begun = Instant::now();
        let outcome = worker.run(job).outcome;
        prop_assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        prop_assert!(matches!(outcome, Outcome::Fault(_) | Outcome::TimeLimit { .. }), "{outcome:?}");
        let fine = guest!(guest_once, guest_once_end).terminate(5);
        prop_assert_eq!(worker.run(Job::new(&fine)).outcome, Outcome::Exited(5));
    }
}

/// Not a test but a measurement: `cargo test --release -p denali-vmm --test upcalls -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn what_upcalls_cost() {
    let count = 20_000;
    let per = |name: &str, code: Asm| {
        let mut job = Job::new(&code);
        (job.limits.cpu_time_us, job.limits.wall_time_us) = (60_000_000, 60_000_000);
        let ended = Worker::start().run(job);
        assert_eq!(ended.outcome, Outcome::Exited(0), "{name}");
        println!("{name}: {} ns, {} ns of CPU", ended.usage.wall_us * 1000 / count, ended.usage.cpu_us * 1000 / count);
    };
    for _ in 0..3 {
        per("IDLE", guest!(guest_plain, guest_plain_end).with_r15(count).terminate(0));
        per("IDLE with an upcall", guest!(guest_cost, guest_cost_end).with_r15(count).terminate(0));
        per("a fault delivered", guest!(guest_fault_cost, guest_fault_cost_end).with_r15(count).terminate(0));
        let ended = result(guest!(guest_away, guest_away_end));
        let mut away: Vec<u64> = (2..402).map(|n| ended.word(n) * 1_000_000 / (ended.word(1) / 1000)).collect();
        away.sort_unstable();
        println!("away for a tick: {} ns at the median, {} at the best, {} upcalls", away[200], away[0], ended.word(0));
        let ended = result(guest!(guest_iretq_cost, guest_iretq_cost_end).with_r15(200_000));
        println!("iretq: {} ticks, cs {:#x}, ss {:#x}", ended.word(0) / 200_000, ended.word(1), ended.word(2));
    }
}

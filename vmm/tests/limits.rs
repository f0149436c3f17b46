//! Limits are enforced in time, and lies are found, whatever the guest does around them.

mod guest;

use denali_abi::{
    instruction::{IDLE, IDLE_FOREVER, KICK},
    memory::{CONTROL, REGISTERS},
    registers::{Control, VirtualRegisters},
    ring::{FRAME_BYTES_MAX, TRANSMIT_BYTES},
};
use denali_protocol::job::{Clock, FaultCause, Outcome};
use denali_vmm::worker::message::Report;
use guest::{Asm, DATA, Job, Reg, Worker, frame_record, run};
use std::{io::Write, mem::offset_of, thread, time::Duration};

/// What a limit may be late by, on a host as busy as one that runs tests.
const LATE: Duration = Duration::from_millis(250);

fn time_limit(code: &Asm, cpu_us: u64, wall_us: u64) -> (Clock, Duration) {
    let mut job = Job::new(code);
    (job.limits.cpu_time_us, job.limits.wall_time_us) = (cpu_us, wall_us);
    let ended = Worker::start().run(job);
    match ended.outcome {
        Outcome::TimeLimit { clock, .. } => (clock, Duration::from_micros(ended.usage.wall_us)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn spinning_ends_at_the_cpu_limit() {
    let (clock, took) = time_limit(&Asm::new().spin(), 200_000, 20_000_000);
    assert_eq!(clock, Clock::Cpu);
    assert!(took >= Duration::from_millis(200), "{took:?}");
}

#[test]
fn spinning_ends_at_the_wall_limit() {
    let (clock, took) = time_limit(&Asm::new().spin(), 20_000_000, 200_000);
    assert_eq!(clock, Clock::Wall);
    assert!((Duration::from_millis(200)..Duration::from_millis(200) + LATE).contains(&took), "{took:?}");
}

/// No one looks at a sleeping VM; one that wakes by its timer and runs wild is seen all the same.
#[test]
fn spinning_after_a_sleep_ends_at_the_cpu_limit() {
    let code = Asm::new().instruction(IDLE, 300_000_000, 0, 0).spin();
    let (clock, took) = time_limit(&code, 200_000, 20_000_000);
    assert_eq!(clock, Clock::Cpu);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_storm_of_kicks_ends_at_the_wall_limit_and_leaves_others_their_limits() {
    let storm = Asm::new().out(KICK).raw(&[0xeb, 0xfc]); // jmp to the out
    let mut worker = Worker::start();
    let mut job = Job::new(&storm);
    job.limits.wall_time_us = 1_000_000;
    worker.begin(job);
    let spin = Asm::new().spin();
    let mut job = Job::new(&spin);
    job.limits.wall_time_us = 300_000;
    let ended = worker.run(job);
    assert_eq!(ended.outcome, Outcome::TimeLimit { clock: Clock::Wall, limit_us: 300_000 });
    assert!(ended.took < Duration::from_millis(300) + LATE, "{:?}", ended.took);
}

#[test]
fn output_beyond_the_limit_is_reported_though_the_guest_ends_at_once() {
    for _ in 0..20 {
        let code = Asm::new().send_result().out(KICK).raw(&[0xf3, 0x90]).terminate(0);
        let mut job = Job::new(&code);
        job.limits.output_bytes = 1000;
        let ended = Worker::start().run(job);
        assert_eq!(ended.outcome, Outcome::OutputLimit { limit_bytes: 1000 });
        assert_eq!(ended.output.len(), 1000);
    }
}

#[test]
fn a_lie_left_in_the_ring_is_found() {
    for head in [8, TRANSMIT_BYTES + 8, 1, u64::MAX, 1 << 63] {
        let outcome = run(&Asm::new().publish(head).terminate(0)).outcome;
        assert!(
            matches!(&outcome, Outcome::Fault(f) if matches!(f.cause, FaultCause::Nic { .. })),
            "{head:#x}: {outcome:?}"
        );
    }
    // A consumer's position that no producer reached.
    let code = Asm::new()
        .mov(Reg::Rax, 1 << 20)
        .store_rax(CONTROL + offset_of!(Control, receive_tail) as u64)
        .instruction(IDLE, IDLE_FOREVER, 0, 0);
    let outcome = run(&code).outcome;
    assert!(matches!(&outcome, Outcome::Fault(f) if matches!(f.cause, FaultCause::Nic { .. })), "{outcome:?}");
}

/// A record's length that cannot be, behind frames as short as can be: all of the ring is looked at in the end.
#[test]
fn a_lie_behind_many_short_frames_is_found() {
    let short = 24u64;
    let count = TRANSMIT_BYTES / short;
    // Records of 14 bytes to the end of the ring, and one of 3 bytes.
    let code = Asm::new()
        .load_rax(REGISTERS + offset_of!(VirtualRegisters, transmit_ring) as u64)
        .mov(Reg::Rcx, count - 1)
        .mov(Reg::Rdx, 14)
        .raw(&[0x48, 0x89, 0x10]) // mov [rax], rdx
        .raw(&[0x48, 0x83, 0xc0, short as u8]) // add rax, 24
        .raw(&[0xe2, 0xf7]) // loop to the mov
        .mov(Reg::Rdx, 3)
        .raw(&[0x48, 0x89, 0x10])
        .publish(short * count)
        .terminate(0);
    let outcome = run(&code).outcome;
    assert!(matches!(&outcome, Outcome::Fault(f) if matches!(f.cause, FaultCause::Nic { .. })), "{outcome:?}");
}

/// Bytes that each record of [`flood`] carries.
const FLOOD_BYTES: usize = 8192 - 8 - 50;

/// Sends this many records of output, each of 8 KiB in the ring, and waits in IDLE for room when it is full.
fn flood(total: u64) -> Asm {
    let record = frame_record(FLOOD_BYTES);
    assert_eq!(record.len(), 8192);
    // Every slot of the ring gets the same record: RSI cycles over the data segment's copy.
    let head_at = CONTROL + offset_of!(Control, transmit_head) as u64;
    let tail_at = REGISTERS + offset_of!(VirtualRegisters, transmit_tail) as u64;
    let wanted_at = REGISTERS + offset_of!(VirtualRegisters, kick_wanted) as u64;
    let mut code = Asm::new();
    for (n, word) in record[..64].chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        code = code.mov(Reg::Rax, word).store_rax(DATA + 8 * n as u64);
    }
    code.load_rax(REGISTERS + offset_of!(VirtualRegisters, transmit_ring) as u64)
        .raw(&[0x49, 0x89, 0xc0]) // mov r8, rax: the slot
        .mov(Reg::Rdx, TRANSMIT_BYTES / 8192)
        // Copy the head of the record into each slot.
        .mov(Reg::Rsi, DATA) // loop: 10 bytes
        .raw(&[0x4c, 0x89, 0xc7]) // mov rdi, r8
        .raw(&[0xb9, 64, 0, 0, 0]) // mov ecx, 64
        .raw(&[0xf3, 0xa4]) // rep movsb
        .raw(&[0x49, 0x81, 0xc0, 0, 0x20, 0, 0]) // add r8, 8192
        .raw(&[0xff, 0xca]) // dec edx
        .raw(&[0x75, 0xe1]) // jnz loop
        .mov(Reg::Rdx, total)
        .raw(&[0x4d, 0x31, 0xc9]) // xor r9, r9: the head
        .mov(Reg::Rbx, tail_at)
        .mov(Reg::Rsi, head_at)
        .raw(&[0x49, 0xba]) // mov r10, wanted_at
        .raw(&wanted_at.to_le_bytes())
        .mov(Reg::Rdi, IDLE_FOREVER)
        // next:
        .raw(&[0x4c, 0x89, 0xc9]) // mov rcx, r9
        .raw(&[0x48, 0x2b, 0x0b]) // sub rcx, [rbx]
        .raw(&[0x48, 0x81, 0xf9]) // cmp rcx, TRANSMIT_BYTES - 8192
        .raw(&((TRANSMIT_BYTES - 8192) as u32).to_le_bytes())
        .raw(&[0x76, 0x04]) // jbe send
        .out(IDLE)
        .raw(&[0xeb, 0xed]) // jmp next
        // send:
        .raw(&[0x49, 0x81, 0xc1, 0, 0x20, 0, 0]) // add r9, 8192
        .raw(&[0x4c, 0x89, 0x0e]) // mov [rsi], r9
        .raw(&[0x0f, 0xae, 0xf0]) // mfence
        .raw(&[0x41, 0x83, 0x3a, 0x00]) // cmp dword [r10], 0
        .raw(&[0x74, 0x02]) // je skip
        .out(KICK)
        .raw(&[0xff, 0xca]) // dec edx
        .raw(&[0x75, 0xd4]) // jnz next
        .terminate(0)
}

/// A wake-up that is lost shows as the wall limit.
#[test]
fn a_guest_that_waits_for_room_is_always_woken() {
    let total = 4000;
    let code = flood(total);
    let mut job = Job::new(&code);
    job.limits.output_bytes = 1 << 30;
    job.limits.cpu_time_us = 20_000_000;
    job.limits.wall_time_us = 20_000_000;
    let ended = Worker::start().run(job);
    assert_eq!(ended.outcome, Outcome::Exited(0));
    assert_eq!(ended.output.len() as u64, total * FLOOD_BYTES as u64);
}

/// A node that reads nothing for a while makes no limit late, neither of the job that fills its socket nor of another.
#[test]
fn a_slow_node_makes_no_limit_late() {
    let (flood, spin) = (flood(1 << 30), Asm::new().spin());
    let mut worker = Worker::start();
    for code in [&flood, &spin] {
        let mut job = Job::new(code);
        job.limits.output_bytes = 1 << 40;
        job.limits.wall_time_us = 400_000;
        worker.begin(job);
    }
    thread::sleep(Duration::from_millis(1500));
    let mut ended = 0;
    while ended < 2 {
        if let Report::Ended { outcome, usage, .. } = worker.report() {
            assert_eq!(outcome, Outcome::TimeLimit { clock: Clock::Wall, limit_us: 400_000 });
            assert!(Duration::from_micros(usage.wall_us) < Duration::from_millis(400) + LATE, "{usage:?}");
            ended += 1;
        }
    }
}

#[test]
fn input_that_comes_late_wakes_the_guest() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // Waits until the ring's head is past the arguments, whose record is there from the start.
    let head_at = REGISTERS + offset_of!(VirtualRegisters, receive_head) as u64;
    let code = Asm::new()
        .load_rax(head_at)
        .raw(&[0x48, 0x89, 0xc2]) // mov rdx, rax
        .mov(Reg::Rdi, IDLE_FOREVER)
        .out(IDLE)
        .raw(&[0x48, 0x8b, 0x03]) // mov rax, [rbx]
        .raw(&[0x48, 0x39, 0xd0]) // cmp rax, rdx
        .raw(&[0x74, 0xf6]) // je to the out
        .terminate(9);
    let mut job = Job::new(&code);
    job.input = reader.into();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        writer.write_all(b"late").expect("a reader");
        writer
    });
    let ended = Worker::start().run(job);
    assert_eq!(ended.outcome, Outcome::Exited(9));
    assert!(ended.usage.exits.idle <= 2, "{:?}", ended.usage.exits);
    drop(writer.join());
}

#[test]
fn arguments_that_fit_no_message_are_refused() {
    let code = Asm::new().terminate(0);
    for (bytes, fits) in [(FRAME_BYTES_MAX - 42 - 8 - 4 - 4, true), (FRAME_BYTES_MAX - 42 - 8 - 4 - 4 + 1, false)] {
        let mut job = Job::new(&code);
        job.arguments = vec!["a".repeat(bytes)];
        let outcome = Worker::start().run(job).outcome;
        match outcome {
            Outcome::Exited(0) if fits => {}
            Outcome::Unstartable(_) if !fits => {}
            other => panic!("{bytes}: {other:?}"),
        }
    }
}

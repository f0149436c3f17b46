use super::{Exit, HostFault};
use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT,
    KVM_EXIT_SHUTDOWN, KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, kvm_run,
};

fn run(exit_reason: u32) -> kvm_run {
    kvm_run { exit_reason, ..kvm_run::default() }
}

fn io(direction: u32, size: u8, count: u32) -> Exit {
    let mut run = run(KVM_EXIT_IO);
    run.__bindgen_anon_1.io.direction = direction as u8;
    run.__bindgen_anon_1.io.size = size;
    run.__bindgen_anon_1.io.count = count;
    run.__bindgen_anon_1.io.port = 0xd0;
    Exit::of(&run)
}

#[test]
fn only_one_access_of_four_bytes_is_plain() {
    assert_eq!(io(KVM_EXIT_IO_OUT, 4, 1), Exit::Out { port: 0xd0, plain: true });
    for (size, count) in [(1, 1), (2, 1), (1, 4), (2, 2), (4, 0), (4, 2)] {
        assert_eq!(io(KVM_EXIT_IO_OUT, size, count), Exit::Out { port: 0xd0, plain: false }, "{size} × {count}");
    }
    assert_eq!(io(KVM_EXIT_IO_IN, 4, 1), Exit::In { port: 0xd0 });
}

#[test]
fn failures_of_the_host_are_not_the_guests() {
    let mut entry = run(KVM_EXIT_FAIL_ENTRY);
    entry.__bindgen_anon_1.fail_entry.hardware_entry_failure_reason = 0x8000_0021;
    assert_eq!(Exit::of(&entry), Exit::Host(HostFault::Entry { reason: 0x8000_0021 }));
    let internal = |suberror| {
        let mut run = run(KVM_EXIT_INTERNAL_ERROR);
        run.__bindgen_anon_1.internal.suberror = suberror;
        Exit::of(&run)
    };
    let suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
    assert_eq!(internal(suberror), Exit::Host(HostFault::Internal { suberror }));
    assert_eq!(Exit::of(&run(KVM_EXIT_HLT)), Exit::Host(HostFault::Unknown { reason: KVM_EXIT_HLT }));
    assert_eq!(Exit::failed(libc::ENOMEM), Exit::Host(HostFault::Call { errno: libc::ENOMEM }));
    assert_eq!(Exit::failed(libc::EINTR), Exit::Interrupted);
    // What the guest did.
    assert_eq!(internal(KVM_INTERNAL_ERROR_EMULATION), Exit::Shutdown);
    assert_eq!(Exit::of(&run(KVM_EXIT_SHUTDOWN)), Exit::Shutdown);
}

use super::*;
use crate::cli::doctor::Level;

#[test]
fn flaws_without_a_full_mitigation_are_named() {
    let flaws = |states: &[(&str, &str)]| {
        let flaws: Vec<_> = states.iter().map(|(flaw, state)| ((*flaw).to_owned(), format!("{state}\n"))).collect();
        vulnerable(&flaws)
    };
    assert_eq!(flaws(&[]), None);
    assert_eq!(flaws(&[("l1tf", "Not affected"), ("spectre_v1", "Mitigation: usercopy barriers")]), None);
    let found = flaws(&[
        ("l1tf", "Not affected"),
        ("mds", "Mitigation: Clear CPU buffers; SMT vulnerable"),
        ("srso", "Vulnerable: Safe RET, no microcode"),
        ("itlb_multihit", "Processor vulnerable"),
    ]);
    let found = found.unwrap();
    assert!(
        found.contains("mds: ") && found.contains("srso: Vulnerable: Safe RET") && found.contains("itlb"),
        "{found}"
    );
    assert!(!found.contains("l1tf") && !found.contains('\n'), "{found}");
}

#[test]
fn large_pages_matter_where_the_cpu_has_the_bug() {
    let bad = |itlb, setting| splits_missing(itlb, setting).is_some();
    assert!(bad("KVM: Vulnerable\n", "N\n") && bad("Processor vulnerable\n", "never\n"));
    assert!(!bad("KVM: Mitigation: Split huge pages\n", "Y\n") && !bad("Not affected\n", "never\n"));
    assert!(!bad("KVM: Mitigation: VMX disabled\n", "N\n") && !bad("", ""));
}

#[test]
fn swap_that_is_not_encrypted_is_named() {
    let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    let uuid = |device: &str| if device == "dm-0" { "CRYPT-PLAIN-swap\n" } else { "LVM-x\n" }.to_owned();
    let clear = |lines: &str| in_clear(&format!("{head}{lines}"), uuid);
    assert_eq!(clear(""), None);
    assert_eq!(in_clear("", uuid), None);
    assert_eq!(clear("/dev/zram0 partition 1 0 100\n/dev/dm-0 partition 1 0 -2\n"), None);
    assert!(clear("/dev/dm-1 partition 1 0 -2\n").unwrap().contains("/dev/dm-1"));
    let found = clear("/swapfile file 1 0 -2\n/dev/dm-0 partition 1 0 -2\n/dev/sda2 partition 1 0 -3\n").unwrap();
    assert!(found.contains("/swapfile, /dev/sda2") && !found.contains("dm-0"), "{found}");
}

#[test]
fn who_keeps_what_crashed_is_named() {
    assert_eq!(dumps("core\n", Some(0), "0\n"), None);
    assert!(dumps("core\n", Some(4096), "0").is_some() && dumps("core\n", None, "").is_some());
    assert!(dumps("|/usr/lib/systemd/systemd-coredump %P\n", Some(0), "").unwrap().contains("systemd-coredump is"));
    assert!(dumps("core", Some(0), "1\n").unwrap().contains("kdump"));
    assert!(dumps("|", None, "").is_some());
}

#[test]
fn this_host_is_warned_of_and_never_failed() {
    let findings = findings();
    assert!(findings.iter().all(|finding| finding.level != Level::Fail));
    assert!(findings.iter().all(|finding| (finding.level == Level::Warn) == finding.advice.is_some()));
}

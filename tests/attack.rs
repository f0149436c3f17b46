//! `denali attack`: a campaign finds nothing, reproductions end as they did, and hostile ones are refused.

use crate::harness::{Place, flipped, noise, number, text};
use std::fs;

/// `mov edi, 7; out 0xd1, eax`: TERMINATE with 7.
const SEVEN: [u8; 7] = [0xbf, 7, 0, 0, 0, 0xe7, 0xd1];

#[test]
fn a_campaign_finds_nothing_and_gives_all_back() {
    let place = Place::new();
    let campaign = place.denali(["attack", "--seed", "5", "--programs", "3000", "--jobs", "2", "--json"]);
    let report = campaign.succeed().line();
    assert_eq!((number(&report, "seed"), number(&report, "programs")), (5, 3000));
    assert_eq!(report["broken"].as_array().map(Vec::len), Some(0), "{report}");
    let ends: u64 = report["ends"].as_object().expect("an object").values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(ends, 3000);
    assert!(number(&report, "features") > 200 && number(&report, "exits") > 3000, "{report}");
    assert!(!place.path("attack-findings").exists());
}

#[test]
fn a_reproduction_ends_as_it_did() {
    let place = Place::new();
    for program in ["0", "1", "2", "3", "4", "5", "6", "7"] {
        let record = place.denali(["attack", "--seed", "11", "--programs", "1", "--record", "a.attack", "--first"]);
        record.arg(program).succeed();
        let replayed = place.denali(["attack", "--replay", "a.attack", "--json"]).succeed().line();
        assert_eq!((&replayed["same_end"], &replayed["differs_at"]), (&true.into(), &().into()), "{replayed}");
        assert_eq!(text(&replayed, "end"), text(&replayed, "recorded_end"));
    }
    let again = place.denali(["attack", "--replay", "a.attack"]).succeed();
    assert!(again.text().ends_with("the same end, by the same exits\n"), "{again}");
}

#[test]
fn raw_guests_come_from_files_and_from_standard_input() {
    let place = Place::new();
    let flat = place.write("seven.bin", SEVEN);
    let ran = place.denali(["attack", "--json", "--record", "seven.attack", "--flat"]).arg(&flat).succeed().line();
    assert_eq!(
        (text(&ran, "outcome"), text(&ran, "end"), number(&ran, "exits")),
        ("exited", "exited with status 7", 1)
    );
    place.denali(["attack", "--replay", "seven.attack"]).succeed();
    let done = place.denali(["attack", "--flat", "-"]).input([0xf4]).succeed();
    assert!(done.text().contains("protection violation"), "{done}");
    let elf = place.denali(["attack", "--json", "--elf"]).arg(place.image("hello")).succeed().line();
    assert_eq!(text(&elf, "end"), "exited with status 0");
    place.denali(["attack", "--flat", "-"]).input(vec![0x90; 70_000]).fail_with(["70000 bytes", "65536", "hint: "]);
    place.denali(["attack", "--elf", "-"]).input("no program").fail_with(["bad program"]);
    place.denali(["attack", "--flat", "-"]).input("").fail_with(["no code", "hint: "]);
    // Without end: not all of its exits are shown, but counted.
    let endless = place.denali(["attack", "--flat", "-"]).input(b"\xeb\xfe".to_vec()).succeed();
    // On a machine that is busy, time passes before it has used its CPU time.
    let ends =
        ["1000 ms CPU", "5000 ms wall"].map(|limit| format!(" more exits\nend: reached its limit of {limit} time\n"));
    assert!(ends.iter().any(|end| endless.text().contains(end)), "{endless}");
    let often = place.denali(["attack", "--json", "--programs", "3", "--flat"]).arg(&flat).succeed().line();
    assert_eq!((number(&often, "programs"), number(&often["ends"], "exited")), (3, 3), "{often}");
    // A program, and more behind it than is read.
    let long = place.path("long");
    fs::copy(place.image("hello"), &long).expect("a copy");
    fs::File::options().write(true).open(&long).and_then(|file| file.set_len(4 << 30)).expect("a hole");
    place.denali(["attack", "--elf"]).arg(long).fail_with(["more than 67108864 bytes", "hint: "]);
}

/// The last numbers of a seed, on more threads than it has guests left; and no guest at all.
#[test]
fn a_seed_ends_with_its_last_number_and_nothing_is_no_answer() {
    let place = Place::new();
    let last = u64::MAX.to_string();
    for (first, count) in [((u64::MAX - 1).to_string(), 2), (last, 1)] {
        let campaign = place.denali(["attack", "--seed", "3", "--jobs", "4", "--time", "60s", "--json", "--first"]);
        assert_eq!(number(&campaign.arg(&first).succeed().line(), "programs"), count, "{first}");
    }
    for time in ["0s", "1ns"] {
        place.denali(["attack", "--time", time]).fail_with(["no guest ran", "hint: "]);
    }
    place.denali(["attack", "--programs", "0"]).fail_with(["--programs"]);
    place.denali(["attack", "--jobs", "257"]).fail_with(["--jobs"]);
}

/// Of many threads' guests it is the last by number; and a disk that is full keeps no answer back.
#[test]
fn the_last_guest_is_recorded_after_the_answer() {
    let place = Place::new();
    let record = |name: &str| place.denali(["attack", "--seed", "4", "--record", name]);
    record("many.attack").args(["--programs", "50", "--jobs", "4"]).succeed();
    record("last.attack").args(["--programs", "1", "--first", "49"]).succeed();
    assert!(fs::read(place.path("many.attack")).unwrap() == fs::read(place.path("last.attack")).unwrap());
    place.denali(["attack", "--replay", "many.attack"]).succeed();

    let flat = place.write("seven.bin", SEVEN);
    for guest in
        [["--seed", "4", "--programs", "1"].map(str::to_owned).to_vec(), vec![format!("--flat={}", flat.display())]]
    {
        let done = place.denali(["attack", "--record", "/dev/full"]).args(guest).run();
        assert_eq!(done.status.code(), Some(125), "{done}");
        assert!(
            done.text().ends_with("every promise held\n") && done.stderr.contains("/dev/full: No space left"),
            "{done}"
        );
    }
}

#[test]
fn hostile_reproductions_are_refused() {
    let place = Place::new();
    let flat = place.write("seven.bin", SEVEN);
    place.denali(["attack", "--record", "good.attack", "--flat"]).arg(flat).succeed();
    let good = fs::read(place.path("good.attack")).expect("a reproduction");
    let refused = |bytes: &[u8], words: &str| {
        let file = place.write("bad.attack", bytes);
        place.denali(["attack", "--replay"]).arg(file).fail_with(["is no reproduction", words, "hint: "]);
    };
    refused(b"", "does not begin with");
    refused(&noise(10_000), "does not begin with");
    refused(&good[..good.len() - 1], "bytes follow its text");
    refused(&flipped(&good, 8 * good.len() - 1), "another SHA-256");
    refused(&vec![b'x'; 4 << 20], "more than a reproduction has");
    place.denali(["attack", "--replay", "missing.attack"]).fail_with(["missing.attack", "No such file"]);
    place.denali(["attack", "--replay", "a", "--flat", "b"]).fail_with(["cannot be used with"]);
}

/// What was recorded of another end is not confirmed.
#[test]
fn another_end_is_told() {
    let place = Place::new();
    // Ends with some bits of the time-stamp counter, which no file can hold: rdtsc; shr eax, 12; and eax, 0x7f;
    // mov edi, eax; out 0xd1, eax
    let code = [0x0f, 0x31, 0xc1, 0xe8, 12, 0x83, 0xe0, 0x7f, 0x89, 0xc7, 0xe7, 0xd1];
    let flat = place.write("clock.bin", code);
    place.denali(["attack", "--record", "clock.attack", "--flat"]).arg(flat).succeed();
    // One in 128 ends the same by chance.
    let differs = (0..4).any(|_| {
        let replayed = place.denali(["attack", "--replay", "clock.attack", "--json"]).run();
        let same = replayed.line()["same_end"] == true;
        assert_eq!(replayed.status.code(), Some(if same { 0 } else { 1 }), "{replayed}");
        !same
    });
    assert!(differs);
}

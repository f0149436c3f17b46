//! Packing, signing, and bundles that are not what somebody signed.

use crate::harness::{Node, Place, eventually, flipped, text};
use std::{fs, path::Path};

#[test]
fn packing_gives_the_same_bytes_for_the_same_input() {
    let place = Place::new();
    let image = place.image("hello");
    // Written in another order, so that the directory lists them differently.
    for (tree, names) in [("a", ["one", "sub/two", "sub/deep/three"]), ("b", ["sub/deep/three", "sub/two", "one"])] {
        for name in names {
            place.write(&format!("{tree}/{name}"), format!("content of {name}"));
        }
        let pack = place.denali(["pack", "--files", tree, "--name", "x", "-o", tree]).arg(&image);
        // A directory cannot be replaced by a bundle.
        pack.fail_with([tree]);
        place.denali(["pack", "--files", tree, "--name", "x", "-o", &format!("{tree}.denali")]).arg(&image).succeed();
    }
    let read = |name| fs::read(place.path(name)).expect("a bundle");
    assert!(read("a.denali") == read("b.denali"), "the same input, other bytes");
    place.denali(["pack", "--files", "a", "--name", "y", "-o", "c.denali"]).arg(&image).succeed();
    assert!(read("a.denali") != read("c.denali"), "the name is part of the bundle");

    let shown = place.denali(["inspect", "a.denali", "--json"]).succeed().line();
    let names: Vec<_> = shown["files"].as_array().expect("a list").iter().map(|file| text(file, "name")).collect();
    assert_eq!(names, ["one", "sub/deep/three", "sub/two"]);
    assert_eq!(place.denali(["run", "a.denali"]).succeed().text(), "Hello from a Denali VM!\n");
}

#[test]
fn options_of_pack_are_in_the_manifest() {
    let place = Place::new();
    let bundle = place.pack("hello", ["--memory", "16MiB", "--cpu-time", "2s", "--wall-time", "3s", "--cpu", "v3"]);
    let shown = place.denali(["inspect", "--json"]).arg(bundle).succeed().line();
    assert_eq!((&shown["memory_bytes"], &shown["cpu"]), (&(16 << 20).into(), &"x86-64-v3".into()));
    assert_eq!((&shown["cpu_time_us"], &shown["wall_time_us"]), (&2_000_000.into(), &3_000_000.into()));
}

#[test]
fn keys_are_made_once_and_kept_from_others() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let (file, public) = place.key("alice.key");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(place.denali(["key", "show"]).arg(&file).succeed().text().trim(), public);
    place.denali(["key", "new", "--out"]).arg(&file).fail_with(["alice.key", "hint: "]);
    assert_ne!(place.key("bob.key").1, public);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let bundle = place.pack("hello", []);
    place.denali(["sign", "--key"]).args([&file, &bundle]).fail_with(["alice.key", "chmod 600"]);
}

/// A bundle of hello with two signatures, and who signed it.
fn signed_twice(place: &Place) -> (Vec<u8>, [String; 2]) {
    let bundle = place.pack("hello", []);
    let signers = ["alice.key", "bob.key"].map(|name| {
        let (key, public) = place.key(name);
        place.denali(["sign", "--key"]).args([&key, &bundle]).succeed();
        public
    });
    (fs::read(bundle).expect("the bundle"), signers)
}

#[test]
fn two_signatures_stand_beside_a_digest_that_stays() {
    let place = Place::new();
    let bundle = place.pack("hello", []);
    let inspect = || place.denali(["inspect", "--json"]).arg(&bundle).succeed().line();
    let digest = text(&inspect(), "digest").to_owned();
    let keys = [place.key("alice.key"), place.key("bob.key")];
    // Alice signs again, which replaces her first signature.
    for (key, _) in [&keys[0], &keys[1], &keys[0]] {
        place.denali(["sign", "--key"]).args([key, &bundle]).succeed();
    }
    let shown = inspect();
    assert_eq!(text(&shown, "digest"), digest);
    let signatures = shown["signatures"].as_array().expect("a list");
    let mut signers: Vec<_> = signatures.iter().map(|signature| text(signature, "signer")).collect();
    let mut expected = [keys[0].1.as_str(), keys[1].1.as_str()];
    signers.sort_unstable();
    expected.sort_unstable();
    assert_eq!(signers, expected);
    assert!(signatures.iter().all(|signature| signature["valid"] == true), "{shown}");
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let place = Place::new();
    let (whole, _) = signed_twice(&place);
    let refused = |bytes: &[u8], what: &str| {
        let file = place.write("changed.denali", bytes);
        let done = place.denali(["inspect"]).arg(file).run();
        assert!(matches!(done.status.code(), Some(1 | 125)), "{what}: {done}");
    };
    // The header and the signatures bit for bit is for unit tests; here a spread over all of it.
    let bits = whole.len() * 8;
    for at in 0..24 {
        refused(&flipped(&whole, at * (bits - 1) / 23), &format!("bit {}", at * (bits - 1) / 23));
    }
    for length in [0, 7, 8, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], &format!("cut to {length} bytes"));
    }
    refused(&[&whole[..], b"x"].concat(), "a byte after it");
    let mut other_version = whole.clone();
    other_version[7] += 1;
    refused(&other_version, "another version");
    place.denali(["inspect"]).arg(place.write("whole.denali", whole)).succeed();
}

#[test]
fn a_bad_signature_spoils_the_good_one_beside_it() {
    let place = Place::new();
    let (whole, signers) = signed_twice(&place);
    let policy = signers.map(|signer| format!("[[signer]]\nkey = \"{signer}\"\n")).concat();
    let node = Node::start(&place, &policy);
    let good = place.write("good.denali", &whole);
    node.submit(&place, &good).arg("--wait").succeed();

    // The last bytes are the second signature's.
    let bad = place.write("bad.denali", flipped(&whole, (whole.len() - 2) * 8));
    let shown = place.denali(["inspect", "--json"]).arg(&bad).end_with(1).line();
    let valid = |valid| shown["signatures"].as_array().expect("a list").iter().filter(|s| s["valid"] == valid).count();
    assert_eq!((valid(true), valid(false)), (1, 1), "{shown}");
    assert!(text(&shown, "refused").contains("signature"), "{shown}");
    node.submit(&place, &bad).arg("--wait").fail_with(["refused", "signature"]);
    // On one's own machine it runs, with a warning.
    assert!(place.denali(["run"]).arg(&bad).succeed().stderr.contains("warning"));
}

#[test]
fn an_expired_signature_no_longer_counts() {
    let place = Place::new();
    let (bundle, (key, public)) = (place.pack("hello", []), place.key("alice.key"));
    let node = Node::start(&place, &format!("[[signer]]\nkey = \"{public}\"\n"));
    let sign = |expires: &str| place.denali(["sign", "--expires", expires, "--key"]).args([&key, &bundle]).succeed();
    sign("1s");
    let inspect = |bundle: &Path| place.denali(["inspect"]).arg(bundle).run();
    let done = eventually("the signature's end", || {
        let done = inspect(&bundle);
        (!done.status.success()).then_some(done)
    });
    assert_eq!(done.status.code(), Some(1), "{done}");
    assert!(done.text().contains("expired"), "{done}");
    node.submit(&place, &bundle).arg("--wait").fail_with(["refused", "expired"]);
    sign("never");
    node.submit(&place, &bundle).arg("--wait").succeed();
}

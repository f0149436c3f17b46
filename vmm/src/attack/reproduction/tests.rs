//! What is written is read back; anything else is refused, and says why.

use super::*;
use crate::attack::of_seed;
use denali_protocol::job::Outcome;

fn sample() -> Reproduction {
    Reproduction {
        case: of_seed(7, 3),
        outcome: Outcome::Exited(3),
        trace: Trace::default(),
        findings: vec![(Oracle::Truth, "one\n\ntwo".to_owned())],
    }
}

#[test]
fn what_is_written_is_read_back() {
    for n in 0..200 {
        let written = Reproduction { case: of_seed(1, n), ..sample() };
        let file = written.write().expect("it is small");
        assert_eq!(Reproduction::parse(&file), Ok(written));
    }
}

#[test]
fn its_text_is_for_people() {
    let file = sample().write().expect("it is small");
    let end = file.windows(2).position(|two| two == b"\n\n").expect("an end of the text");
    let text = std::str::from_utf8(&file[..end]).expect("text");
    assert!(text.contains("end     exited with status 3\nfinding Truth: one  two"), "{text}");
}

#[test]
fn hostile_files_are_refused() {
    let file = sample().write().expect("it is small");
    let parse = |file: &[u8]| Reproduction::parse(file).expect_err("no reproduction");
    let text = String::from_utf8_lossy(&file).into_owned();
    assert_eq!(parse(b""), ReproductionError::Title);
    assert_eq!(parse(&vec![0; REPRODUCTION_BYTES + 1]), ReproductionError::TooLong { bytes: REPRODUCTION_BYTES + 1 });
    assert_eq!(parse(text.replacen("version 1", "version 2", 1).as_bytes()), ReproductionError::Title);
    assert_eq!(parse(text.replacen("data", "date", 1).as_bytes()), ReproductionError::Header);
    assert_eq!(parse(format!("{TITLE}\ndata 1 x\n\n").as_bytes()), ReproductionError::Header);
    let endless = format!("{TITLE}\ndata 1 {}\n", Digest::of(b"")) + &"x".repeat(2 * TEXT_BYTES);
    assert_eq!(parse(endless.as_bytes()), ReproductionError::Text);
    let data =
        |bytes: &[u8]| [format!("{TITLE}\ndata {} {}\n\n", bytes.len(), Digest::of(bytes)).as_bytes(), bytes].concat();
    assert!(matches!(parse(&data(&[0xff; 40])), ReproductionError::Data(_)));
    let mut changed = file.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    assert_eq!(parse(&changed), ReproductionError::Digest);
    for end in 0..file.len() {
        assert!(Reproduction::parse(&file[..end]).is_err(), "cut at {end}");
    }
    assert!(matches!(parse(&[&file[..], b"x"].concat()), ReproductionError::Length { .. }));
}

use super::{Message, MessageError, put_arguments};
use denali_abi::job::{ARGUMENTS, ERROR, FILE, HEADER_BYTES, INPUT, INPUT_END, KIND, NAME_BYTES, OUTPUT, PROGRESS};
use proptest::prelude::*;

fn message(kind: u8, name: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER_BYTES];
    message[KIND] = kind;
    message[NAME_BYTES..NAME_BYTES + 2].copy_from_slice(&(name.len() as u16).to_le_bytes());
    message.extend(name);
    message.extend(payload);
    message
}

#[test]
fn each_kind_is_understood() {
    assert_eq!(Message::parse(&message(OUTPUT, b"", b"out")), Ok(Message::Output(b"out")));
    assert_eq!(Message::parse(&message(ERROR, b"", b"")), Ok(Message::Error(b"")));
    let file = message(FILE, b"a/b.txt", b"bytes");
    assert_eq!(Message::parse(&file), Ok(Message::File { name: "a/b.txt", bytes: b"bytes" }));
    for (permille, shown) in [(0u16, 0), (1000, 1000), (1001, 1000), (u16::MAX, 1000)] {
        let progress = message(PROGRESS, b"", &permille.to_le_bytes());
        assert_eq!(Message::parse(&progress), Ok(Message::Progress { permille: shown }));
    }
}

#[test]
fn what_only_the_gateway_sends_is_refused() {
    for kind in [0, ARGUMENTS, INPUT, INPUT_END, 15, PROGRESS + 1, 255] {
        assert_eq!(Message::parse(&message(kind, b"", b"1234")), Err(MessageError::Kind { kind }));
    }
}

#[test]
fn messages_cut_short_are_refused() {
    let file = message(FILE, b"name", b"");
    for bytes in 0..file.len() {
        assert_eq!(Message::parse(&file[..bytes]), Err(MessageError::Short { bytes }));
    }
    let progress = message(PROGRESS, b"", &[1]);
    assert_eq!(Message::parse(&progress), Err(MessageError::Short { bytes: 9 }));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", ".", "a\\b", "a\nb", "a\0", &"n".repeat(256)] {
        let refused = message(FILE, name.as_bytes(), b"");
        assert!(matches!(Message::parse(&refused), Err(MessageError::Name { .. })), "{name:?}");
    }
    assert!(matches!(Message::parse(&message(FILE, &[0xff], b"")), Err(MessageError::Name { .. })));
}

#[test]
fn arguments_are_counted_and_measured() {
    let mut payload = Vec::new();
    put_arguments(&mut payload, &["one".to_owned(), String::new()]);
    assert_eq!(payload, [2, 0, 0, 0, 3, 0, 0, 0, b'o', b'n', b'e', 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn any_bytes_are_taken_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0u8..24) {
        let mut bytes = bytes;
        let _ = Message::parse(&bytes);
        if let Some(first) = bytes.get_mut(KIND) {
            *first = kind;
        }
        let _ = Message::parse(&bytes);
    }
}

use super::{Settings, SettingsError};
use proptest::prelude::*;

#[test]
fn a_text_says_how_to_start() {
    let text = b"program=/bin/a b\nenvironment=A=1=2\ndirectory=/tmp\nenvironment=B=\nenvironment=A=3\n";
    let settings = Settings::parse(text).unwrap();
    assert_eq!((settings.program.as_str(), settings.directory.as_str()), ("/bin/a b", "/tmp"));
    assert_eq!(settings.environment, ["B=", "A=3"], "the last value counts");
    assert_eq!(Settings::parse(b"program=/a").unwrap().directory, "/");
}

#[test]
fn what_is_no_text_of_settings_has_its_name() {
    let refused = |text: &[u8]| Settings::parse(text).unwrap_err();
    assert_eq!(refused(b""), SettingsError::NoProgram);
    assert_eq!(refused(b"program=/a\nprogram=/b\n"), SettingsError::Twice { line: 2 });
    assert_eq!(refused(b"program=/a\n\n"), SettingsError::Key { line: 2 });
    assert_eq!(refused(b"color=/a\n"), SettingsError::Key { line: 1 });
    assert_eq!(refused(b"program=\xff"), SettingsError::NotText);
    assert_eq!(refused(&vec![b'a'; 70_000]), SettingsError::TooLong { bytes: 70_000 });
    for path in ["", "a", "/a\0"] {
        assert_eq!(refused(format!("program={path}\n").as_bytes()), SettingsError::Path { path: path.to_owned() });
    }
    for variable in ["", "A", "=1", "A=\0"] {
        let error = SettingsError::Variable { variable: variable.to_owned() };
        assert_eq!(refused(format!("program=/a\nenvironment={variable}\n").as_bytes()), error);
    }
    assert!(Settings::new("/a").unwrap().set("A=1\nprogram=/b").is_err());
}

#[test]
fn a_default_gives_way() {
    let mut settings = Settings::new("/a").unwrap();
    settings.set("A=1").unwrap();
    settings.set_default("A=2").unwrap();
    settings.set_default("AB=3").unwrap();
    assert_eq!(settings.environment, ["A=1", "AB=3"]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        program in "/[^\0\n]{0,50}",
        directory in "/[^\0\n]{0,50}",
        environment in prop::collection::vec("[^\0\n=]{1,5}=[^\0\n]{0,50}", 0..5),
    ) {
        let mut settings = Settings::new(&program).unwrap();
        settings.set_directory(&directory).unwrap();
        for variable in &environment {
            settings.set(variable).unwrap();
        }
        prop_assert_eq!(Settings::parse(settings.to_string().as_bytes()), Ok(settings));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), start in "(program=/a\n)?(environment=)?") {
        let text = [start.as_bytes(), &bytes].concat();
        if let Ok(settings) = Settings::parse(&text) {
            prop_assert_eq!(Settings::parse(settings.to_string().as_bytes()), Ok(settings));
        }
    }
}

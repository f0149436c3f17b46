//! Settings of Linux programs, as a bundle by a stranger might hold them.

use denali_linux::bundle::Settings;

/// Longest settings, bytes.
const TEXT_MAX: usize = 64 << 10;

/// Parses `data` as settings. What is accepted says of each thing one, and reads the same once written.
pub fn linux_settings(data: &[u8]) {
    let mut settings = match Settings::parse(data) {
        Ok(settings) => settings,
        Err(error) => return assert_ne!(error.to_string(), ""),
    };
    assert!(data.len() <= TEXT_MAX && settings.program.starts_with('/') && settings.directory.starts_with('/'));
    let names = || settings.environment.iter().map(|variable| variable.split('=').next());
    assert!(names().enumerate().all(|(index, name)| !names().take(index).any(|other| other == name)));
    assert!(settings.arguments.iter().all(|argument| !argument.contains(['\0', '\n'])));
    // What is left out when written, an own directory, makes it a little longer.
    let written = settings.to_string();
    if written.len() <= TEXT_MAX {
        assert_eq!(Settings::parse(written.as_bytes()).as_ref(), Ok(&settings));
    }
    let before = settings.clone();
    for variable in &before.environment {
        assert_eq!(settings.set_default(variable), Ok(()));
    }
    assert_eq!(settings, before);
}

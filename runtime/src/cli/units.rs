//! Quantities as people write them: bytes as `64MiB` or `4096`, durations as `10s`, `500ms`, `2m`, `7d`.

use std::time::Duration;

/// Bytes, for clap.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "expected bytes, such as 4096, 64MiB or 1GiB".to_owned();
    // The crate reads fractions and signs by way of floating point; whole numbers with a unit are all we promise.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong())
}

/// A duration, for clap.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration, such as 10s, 500ms, 2m or 7d".to_owned())
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Bytes for people: `64.0 MiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// Microseconds for people, to three digits or so: `679 us`, `1.68 ms`, `2.5 s`, `1h 30m`.
pub(crate) fn show_micros(us: u64) -> String {
    let scaled = |unit_us: u64| {
        let text = format!("{:.2}", us as f64 / unit_us as f64);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{} ms", scaled(1_000)),
        1_000_000..60_000_000 => format!("{} s", scaled(1_000_000)),
        _ => humantime::format_duration(Duration::from_secs(us / 1_000_000)).to_string(),
    }
}

/// A time since 1970 in milliseconds, as RFC 3339 in UTC.
pub(crate) fn show_time(unix_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    // The formatter panics beyond the year 9999, and a node may state any number.
    match time.filter(|_| unix_ms < 253_402_300_800_000) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => format!("{unix_ms} ms after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_and_without_unit() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        for wrong in ["", "-1", "64QiB", "MiB", "nan", " 5"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "10", "-1s", "1 fortnight"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn any_time_can_be_shown() {
        assert_eq!(show_time(0), "1970-01-01T00:00:00Z");
        assert_eq!(show_time(u64::MAX), format!("{} ms after 1970", u64::MAX));
    }

    #[test]
    fn times_are_shown_to_a_few_digits() {
        for (us, text) in [
            (0, "0 us"),
            (999, "999 us"),
            (1_684, "1.68 ms"),
            (200_000, "200 ms"),
            (10_000_000, "10 s"),
            (2_500_000, "2.5 s"),
            (5_400_000_000, "1h 30m"),
        ] {
            assert_eq!(show_micros(us), text);
        }
    }
}

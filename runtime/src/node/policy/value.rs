//! Values as a policy file spells them: bytes as `"64MiB"` or a number, durations as `"10s"`, keys as hexadecimal.
//! Each checks its range, so that an error names the line.

use denali_protocol::{identity::PublicKey, limits};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use std::{fmt, ops::RangeInclusive, time::Duration};

/// Most VMs or workers at once that a policy may ask for.
const SLOTS: RangeInclusive<u64> = 1..=65_536;

/// A public key in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) PublicKey);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, such as \"64MiB\" or 65536")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let whole = text.starts_with(|c: char| c.is_ascii_digit());
        let size = text.parse::<bytesize::ByteSize>().ok().filter(|_| whole);
        size.map(|size| size.as_u64()).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Bytes)
}

pub(super) fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(bytes(deserializer)?, &limits::MEMORY_BYTES, "bytes of memory")
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| D::Error::custom(format!("invalid value: string {text:?}, expected a duration, such as \"10s\"")))
}

pub(super) fn job_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = duration(deserializer)?;
    let most = Duration::from_micros(limits::TIME_US);
    if (Duration::from_millis(1)..=most).contains(&time) {
        Ok(time)
    } else {
        Err(D::Error::custom(format!("{time:?} is out of range, allowed are 1 ms to 30 days")))
    }
}

pub(super) fn slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let slots = within(u64::deserialize(deserializer)?, &SLOTS, "at once")?;
    u32::try_from(slots).map_err(D::Error::custom)
}

pub(super) fn worker_vms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let vms = within(u64::deserialize(deserializer)?, &(1..=10_000), "VMs in a worker")?;
    u32::try_from(vms).map_err(D::Error::custom)
}

pub(super) fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let cpus = within(u64::deserialize(deserializer)?, &(1..=1024), "CPUs")?;
    u32::try_from(cpus).map_err(D::Error::custom)
}

pub(super) fn some_slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    slots(deserializer).map(Some)
}

pub(super) fn jobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let jobs = within(u64::deserialize(deserializer)?, &(1..=10_000_000), "jobs")?;
    u32::try_from(jobs).map_err(D::Error::custom)
}

fn within<E: Error>(value: u64, range: &RangeInclusive<u64>, unit: &str) -> Result<u64, E> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(E::custom(format!("{value} {unit} is out of range, allowed are {} to {}", range.start(), range.end())))
}

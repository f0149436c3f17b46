//! The CPU that a program sees.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The CPU models: the x86-64 psABI levels, and nothing of the host beyond them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum CpuModel {
    /// SSE4.2, POPCNT and all below. Every node offers it.
    #[default]
    V2,
    /// AVX2, BMI, FMA and all below.
    V3,
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
        })
    }
}

/// The text names no CPU model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown CPU model; use x86-64-v2 or x86-64-v3")]
pub struct ParseCpuModelError;

impl FromStr for CpuModel {
    type Err = ParseCpuModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "x86-64-v2" => Ok(Self::V2),
            "x86-64-v3" => Ok(Self::V3),
            _ => Err(ParseCpuModelError),
        }
    }
}

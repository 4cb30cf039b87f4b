//! Sizes as people write them: `16GiB`, `512 MiB`, `1.5GiB`, `4GB`, or a plain number of bytes.
//!
//! Binary and decimal units are told apart, and a bare `16G` is refused: Slurm means 2³⁰ by it, disk makers 10⁹, and
//! a cache that is 7 % too large is killed. What is printed parses back to the same number of bytes.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];
const BINARY_UNITS: usize = 4;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A number of bytes, or `auto`: the node finds it out from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoBytes {
    /// Derived from what the machine has.
    Auto,
    /// As given.
    Fixed(Bytes),
}

/// The text names no size; the message says how to write one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSize(String);

impl Bytes {
    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// For people: at most one decimal, in the largest binary unit that leaves at least 1.
    pub fn rounded(self) -> String {
        match UNITS[..BINARY_UNITS].iter().find(|(_, bytes)| self.0 >= *bytes) {
            Some((unit, bytes)) if self.0.is_multiple_of(*bytes) => format!("{} {unit}", self.0 / bytes),
            Some((unit, bytes)) => format!("{:.1} {unit}", self.0 as f64 / *bytes as f64),
            None => format!("{} bytes", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let bytes_per_unit = match unit {
            "" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, bytes)| *bytes)
                .ok_or_else(|| match unit.to_ascii_uppercase().as_str() {
                    short @ ("K" | "M" | "G" | "T") => BadSize(format!(
                        "`{text}` is ambiguous: write {number}{short}iB (1024) or {number}{short}B (1000)"
                    )),
                    _ => BadSize(format!(
                        "`{text}` has an unknown unit: use KiB, MiB, GiB, TiB, KB, MB, GB or TB"
                    )),
                })?,
        };
        let no_number = || BadSize(format!("`{text}` is not a size: write one like 16GiB or 512MiB"));
        let bytes = if number.contains('.') {
            let product = number.parse::<f64>().map_err(|_| no_number())? * bytes_per_unit as f64;
            (product < u64::MAX as f64).then_some(product as u64)
        } else {
            number.parse::<u64>().map_err(|_| no_number())?.checked_mul(bytes_per_unit)
        };
        bytes.map(Bytes).ok_or_else(|| BadSize(format!("`{text}` is more than any memory holds")))
    }
}

impl FromStr for AutoBytes {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            size => size.parse().map(Self::Fixed),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS[..BINARY_UNITS]
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes))
        {
            Some((unit, bytes)) => write!(out, "{}{unit}", self.0 / bytes),
            None => write!(out, "{}", self.0),
        }
    }
}

impl fmt::Display for AutoBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Fixed(bytes) => bytes.fmt(out),
        }
    }
}

/// Takes text or a whole number; both types read and write themselves through their text.
struct SizeVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = BadSize>> Visitor<'_> for SizeVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a size like \"16GiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<T, E> {
        self.visit_str(&bytes.to_string())
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<T, E> {
        self.visit_str(&bytes.to_string())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(SizeVisitor(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for AutoBytes {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(SizeVisitor(std::marker::PhantomData))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_str(self)
    }
}

impl Serialize for AutoBytes {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<u64, String> {
        text.parse::<Bytes>().map(|b| b.0).map_err(|e| e.to_string())
    }

    #[test]
    fn binary_and_decimal_units_are_told_apart() {
        assert_eq!(bytes("16GiB"), Ok(16 << 30));
        assert_eq!(bytes("16 gib"), Ok(16 << 30));
        assert_eq!(bytes("16GB"), Ok(16_000_000_000));
        assert_eq!(bytes("1.5 MiB"), Ok(3 << 19));
        assert_eq!(bytes("4096"), Ok(4096));
    }

    #[test]
    fn an_ambiguous_unit_is_refused_with_both_readings() {
        assert_eq!(bytes("16g"), Err("`16g` is ambiguous: write 16GiB (1024) or 16GB (1000)".into()));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "GiB", "-1", "1.2.3GiB", "much", "12 parsecs", "99999999TiB", "1e9"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_parses_back() {
        for count in [0, 1, 1000, 1024, 1025, 5 << 20, (5 << 20) + 1, 3 << 40, u64::MAX] {
            assert_eq!(Bytes(count).to_string().parse(), Ok(Bytes(count)));
        }
        assert_eq!(Bytes::gib(16).to_string(), "16GiB");
        assert_eq!(AutoBytes::Auto.to_string().parse(), Ok(AutoBytes::Auto));
    }
}

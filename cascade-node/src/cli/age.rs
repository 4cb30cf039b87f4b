//! Ages as people write them: `90s`, `15min`, `12h`, `7d`, `2w`.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];

/// How long ago, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age(pub(super) u64);

impl Age {
    /// Of what happened then. What is said to happen in the future is new.
    pub(super) fn since(unix_s: u32) -> Self {
        Self(now_unix_s().saturating_sub(u64::from(unix_s)))
    }
}

/// Seconds since 1970.
fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Display for Age {
    /// In the largest unit of which there are two at least.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = UNITS.iter().find(|(_, seconds)| self.0 >= 2 * seconds);
        let (unit, seconds) = fits.unwrap_or(&UNITS[UNITS.len() - 1]);
        out.pad(&format!("{}{unit}", self.0 / seconds))
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (text[..split].parse::<u64>(), text[split..].trim());
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        match (number, unit) {
            (Ok(number), Some((_, seconds))) => number
                .checked_mul(*seconds)
                .map(Self)
                .ok_or_else(|| format!("{text} is older than everything")),
            _ => Err(format!("{text:?} is no age: write one as 90s, 15min, 12h, 7d or 2w")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_in_its_unit() {
        for (text, seconds) in
            [("90s", 90), ("15min", 900), ("12 h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(text.parse(), Ok(Age(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_age_is_refused_with_what_is_one() {
        for text in
            ["", "7", "d", "-1d", "1.5h", "7 days", "5m", "99999999999999999999d", "9999999999999999999w"]
        {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
        assert!("5m".parse::<Age>().unwrap_err().contains("15min"));
    }

    #[test]
    fn an_age_is_shown_in_the_largest_unit_that_says_something() {
        for (seconds, shown) in
            [(0, "0s"), (119, "119s"), (120, "2min"), (7200, "2h"), (86_400, "24h"), (200_000, "2d")]
        {
            assert_eq!(Age(seconds).to_string(), shown);
        }
    }
}

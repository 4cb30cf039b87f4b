//! What is wrong with a configuration: where it stands, what it is, what to do.

use std::fmt;

use figment::error::Kind;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `cascade.toml:12`, `variable CASCADE_SEGMENT__CAPACITY`, `flag --set`.
    pub place: String,
    /// What, and what to do about it.
    pub message: String,
}

/// All that is wrong, at once: nobody likes to mend a file error by error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            problem.fmt(out)?;
        }
        Ok(())
    }
}

/// The known name that was probably meant by `unknown`, if any comes close.
///
/// Both may be dotted. The right last part under the wrong section (or under none) counts as close.
pub(crate) fn closest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const CLOSE: f64 = 0.82;
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |name: &str| {
        let whole = strsim::jaro_winkler(unknown, name);
        let ending = 0.97 * strsim::jaro_winkler(&last(unknown), &last(name));
        // Equal prefixes make long dotted names alike; edits tell them apart.
        let edits = strsim::normalized_damerau_levenshtein(unknown, name);
        (whole.max(ending), edits)
    };
    known
        .into_iter()
        .map(|name| (score(name), name))
        .filter(|((likeness, _), _)| *likeness >= CLOSE)
        .max_by(|(a, _), (b, _)| (a.0 + a.1).total_cmp(&(b.0 + b.1)))
        .map(|(_, name)| name)
}

/// What serde found wrong with a value, in words for people.
pub(crate) fn explain(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let expected = match expected.as_str() {
                "u32" | "u64" | "usize" => "a whole number",
                "f32" | "f64" => "a number",
                "path string" => "a path",
                other => other,
            };
            format!("expected {expected}, found {found}")
        }
        Kind::UnknownVariant(found, choices) => {
            let meant = closest(found, choices.iter().copied());
            let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            format!("`{found}` is none of {}{hint}", choices.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::closest;

    const KNOWN: [&str; 4] = ["instance", "segment.capacity", "segment.chunk", "policy.watermark_low_ratio"];

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        assert_eq!(closest("segment.capcity", KNOWN), Some("segment.capacity"));
        assert_eq!(closest("segmnet.chunk", KNOWN), Some("segment.chunk"));
        assert_eq!(closest("instanse", KNOWN), Some("instance"));
    }

    #[test]
    fn the_right_name_in_the_wrong_section_is_found() {
        assert_eq!(closest("capacity", KNOWN), Some("segment.capacity"));
        assert_eq!(closest("segment.watermark_low_ratio", KNOWN), Some("policy.watermark_low_ratio"));
    }

    #[test]
    fn nothing_close_suggests_nothing() {
        assert_eq!(closest("zzz", KNOWN), None);
    }
}

//! A TOML text as dotted keys, each with its value and line.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// A parsed text. `values` and `lines` speak of the same keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    /// The nested values.
    pub(super) values: Dict,
    /// Dotted key of each leaf → line, from 1.
    pub(super) lines: BTreeMap<String, usize>,
}

impl Document {
    /// Parses `text`; `place` names it in the error, together with line and column.
    pub(super) fn parse(text: &str, place: &str) -> Result<Self, Problem> {
        let refused = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Problem::new(format!("{place}:{line}"), error.message().trim().replace('\n', ", "))
        };
        let mut lines = BTreeMap::new();
        collect_lines(text, "", DeTable::parse(text).map_err(refused)?.get_ref(), &mut lines);
        Ok(Self { values: toml::from_str(text).map_err(refused)?, lines })
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn collect_lines(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let key = join(prefix, name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect_lines(text, &key, inner, lines),
            _ => {
                lines.insert(key, line_of(text, name.span().start));
            }
        }
    }
}

/// The leaves of nested values, by dotted key. An empty table is a leaf: it has a name, which may be wrong.
pub(super) fn leaves(values: &Dict) -> Vec<(String, &Value)> {
    fn walk<'a>(prefix: &str, values: &'a Dict, found: &mut Vec<(String, &'a Value)>) {
        for (name, value) in values {
            let key = join(prefix, name);
            match value {
                Value::Dict(_, inner) if !inner.is_empty() => walk(&key, inner, found),
                _ => found.push((key, value)),
            }
        }
    }
    let mut found = Vec::new();
    walk("", values, &mut found);
    found
}

/// The nested form of one dotted key.
pub(super) fn nest(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((section, rest)) => Dict::from([(section.to_owned(), nest(rest, value).into())]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_knows_its_line() {
        let document =
            Document::parse("a = 1\n\n[s]\nb = [\n 1]\nc.d = 'x'\n[empty]\n", "f").expect("sound TOML");
        let lines: Vec<_> = document.lines.iter().map(|(key, line)| (key.as_str(), *line)).collect();
        assert_eq!(lines, [("a", 1), ("empty", 7), ("s.b", 4), ("s.c.d", 6)]);
        let keys: Vec<_> = leaves(&document.values).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "empty", "s.b", "s.c.d"]);
    }

    #[test]
    fn broken_toml_names_its_line() {
        let problem = Document::parse("a = 1\nb = = 2\n", "cascade.toml").expect_err("broken TOML");
        assert_eq!(problem.place, "cascade.toml:2");
    }

    #[test]
    fn a_dotted_key_nests() {
        let nested = nest("a.b.c", Value::from(5));
        assert_eq!(leaves(&nested).first().map(|(key, _)| key.clone()), Some("a.b.c".to_owned()));
    }
}

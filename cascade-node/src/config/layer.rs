//! One layer of the configuration: values and the place they come from.
//!
//! Every layer is checked against the known keys before it is merged, so that an error names the layer that holds it.
//! The known keys, and how text becomes a value, come from the laptop profile, which sets every key.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile as FigmentProfile, Provider};

use super::document::{Document, leaves, nest};
use super::problem::{Problem, closest};
use super::profile::{self, Profile};

/// Variables that begin like the configuration's and are something else.
pub(super) const OTHER_VARIABLES: [&str; 7] = [
    "CASCADE_SOCKET",
    "CASCADE_CONFIG",
    "CASCADE_PROFILE",
    "CASCADE_DIR",
    "CASCADE_LOG",
    "CASCADE_PLUGINS",
    // What tiers that are built for tests go by.
    "CASCADE_FAULTS",
];
const PREFIX: &str = "CASCADE_";

/// Values with an origin, as figment takes them.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) origin: String,
    values: Dict,
    lines: BTreeMap<String, usize>,
    /// What stands before the line number, if lines mean anything to the reader.
    file: Option<String>,
}

/// The keys that exist, with their default values and in the manual's order.
pub(super) struct Known {
    defaults: Document,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<FigmentProfile, Dict>, figment::Error> {
        Ok(FigmentProfile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    /// The values of a built-in profile, under the given origin.
    pub(super) fn profile(profile: Profile, origin: &str) -> Result<Self, Problem> {
        let document = Document::parse(profile.text, origin)?;
        Ok(Self { origin: origin.to_owned(), values: document.values, lines: document.lines, file: None })
    }

    /// The values of a file's text.
    pub(super) fn file(path: &str, text: &str) -> Result<Self, Problem> {
        let document = Document::parse(text, path)?;
        let file = Some(path.to_owned());
        Ok(Self { origin: format!("file {path}"), values: document.values, lines: document.lines, file })
    }

    /// One key, from one variable or flag.
    pub(super) fn single(origin: String, key: &str, value: Value) -> Self {
        Self { origin, values: nest(key, value), lines: BTreeMap::new(), file: None }
    }

    /// Where a key of this layer stands, as exactly as is known.
    pub(super) fn place(&self, key: &str) -> String {
        match (&self.file, self.lines.get(key)) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => self.origin.clone(),
        }
    }

    /// The keys of this layer that do not exist.
    pub(super) fn unknown(&self, known: &Known) -> Vec<Problem> {
        let exists = |key: &str, value: &Value| {
            known.has(key) || known.is_section(key) && matches!(value, Value::Dict(..))
        };
        let all = leaves(&self.values).into_iter();
        let mut unknown: Vec<String> =
            all.filter(|(key, value)| !exists(key, value)).map(|(key, _)| key).collect();
        unknown.sort_by_key(|key| self.lines.get(key));
        unknown.iter().map(|key| Problem::new(self.place(key), known.unknown_message(key))).collect()
    }
}

impl Known {
    pub(super) fn new() -> Result<Self, Problem> {
        Ok(Self { defaults: Document::parse(profile::DEFAULT.text, "profile laptop")? })
    }

    /// All keys, in the order of the manual.
    pub(super) fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<_> = self.defaults.lines.iter().collect();
        keys.sort_by_key(|(_, line)| **line);
        keys.into_iter().map(|(key, _)| key.as_str()).collect()
    }

    fn has(&self, key: &str) -> bool {
        self.defaults.lines.contains_key(key)
    }

    fn is_section(&self, key: &str) -> bool {
        matches!(self.defaults.values.get(key), Some(Value::Dict(..)))
    }

    fn unknown_message(&self, key: &str) -> String {
        if self.is_section(key) {
            return format!("`{key}` is a section: name a key in it, such as `{}`", self.first_key_of(key));
        }
        let sections = self.defaults.values.iter().filter(|(_, value)| matches!(value, Value::Dict(..)));
        let sections = sections.map(|(name, _)| name.as_str());
        match closest(key, self.keys().into_iter().chain(sections)) {
            Some(meant) => format!("unknown key `{key}`; did you mean `{meant}`?"),
            None => format!("unknown key `{key}`; `cascade-node config show` lists all keys"),
        }
    }

    fn first_key_of(&self, section: &str) -> &str {
        let inside = |key: &&str| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        self.keys().into_iter().find(inside).unwrap_or_default()
    }

    /// Text from a variable or flag as a value of the key's kind; serde judges what does not fit.
    pub(super) fn value(&self, key: &str, text: &str) -> Value {
        let parsed =
            |text: &str| toml::from_str::<Dict>(&format!("v = {text}")).ok().and_then(|mut d| d.remove("v"));
        match leaves(&self.defaults.values).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
        {
            Some(Value::Array(..)) if text.trim_start().starts_with('[') => {
                parsed(text).unwrap_or_else(|| Value::from(text))
            }
            Some(Value::Array(..)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::from(parts.collect::<Vec<_>>())
            }
            Some(Value::Num(..) | Value::Bool(..)) => parsed(text).unwrap_or_else(|| Value::from(text)),
            _ => Value::from(text),
        }
    }

    /// One layer per variable of the configuration, and what is wrong with their names.
    pub(super) fn environment(&self, variables: &[(String, String)]) -> (Vec<Layer>, Vec<Problem>) {
        let mut layers = Vec::new();
        let mut problems = Vec::new();
        for (name, text) in variables.iter().filter(|(name, _)| !OTHER_VARIABLES.contains(&name.as_str())) {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let key = rest.split("__").collect::<Vec<_>>().join(".").to_ascii_lowercase();
            let origin = format!("variable {name}");
            if self.has(&key) {
                layers.push(Layer::single(origin, &key, self.value(&key, text)));
            } else {
                problems.push(Problem::new(origin, self.unknown_variable(name, &key)));
            }
        }
        // What people try first, so it wins over its long form.
        for (short, key) in [("CASCADE_LOG", "log.filter"), ("CASCADE_DIR", super::scratch::KEY)] {
            let set = variables.iter().find(|(name, text)| name == short && !text.is_empty());
            layers.extend(set.map(|(name, text)| {
                Layer::single(format!("variable {name}"), key, Value::from(text.as_str()))
            }));
        }
        (layers, problems)
    }

    fn unknown_variable(&self, name: &str, key: &str) -> String {
        if self.is_section(key) {
            let inner = variable_of(self.first_key_of(key));
            return format!("names the section `{key}`: name a key in it, such as {inner}");
        }
        let keys = self.keys().into_iter().map(variable_of);
        let known: Vec<String> = keys.chain(OTHER_VARIABLES.map(str::to_owned)).collect();
        match closest(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("unknown variable; did you mean {meant}?"),
            None => format!("unknown key `{key}`; unset it, or see `cascade-node config show` for all keys"),
        }
    }
}

/// The variable that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

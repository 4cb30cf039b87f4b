//! What a verb answers when it fails: one message that says what happened and what to do.

use std::fmt;

/// A failed step, told in words. There is nothing to match on: nobody but a person reads it.
#[derive(Debug)]
pub(crate) struct Failure(String);

/// What every verb and helper returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Into<String>> From<S> for Failure {
    fn from(words: S) -> Self {
        Self(words.into())
    }
}

/// Adds what was attempted to an error of the environment.
pub(crate) trait Context<T> {
    /// Turns the error into `what: error`.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

/// Runs every step, whatever became of the others, and fails with the names of those that failed.
///
/// A developer wants all the news of a run, not the first piece of it.
pub(crate) fn all<'a>(steps: impl IntoIterator<Item = (&'a str, Result)>) -> Result {
    let failed: Vec<String> = steps
        .into_iter()
        .filter_map(|(name, outcome)| outcome.err().map(|failure| format!("{name}: {failure}")))
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure(failed.join("\n       "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_says_what_was_attempted_then_why_it_failed() {
        let failed: std::result::Result<(), &str> = Err("no such file");
        assert_eq!(failed.context("reading a.toml").unwrap_err().to_string(), "reading a.toml: no such file");
    }

    #[test]
    fn every_failed_step_is_named() {
        let outcome = all([("fmt", Err("one".into())), ("docs", Ok(())), ("deny", Err("two".into()))]);
        assert_eq!(outcome.unwrap_err().to_string(), "fmt: one\n       deny: two");
    }

    #[test]
    fn nothing_failed_is_success() {
        assert!(all([("fmt", Ok(()))]).is_ok());
    }
}

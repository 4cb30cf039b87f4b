//! Skips are said, counted and agreed on.
//!
//! A test or a step that cannot run here prints one line, `SKIPPED <name>: <why>`. Where `CI=true` each must be on the
//! list in `xtask/skips.txt` (`<name>: <why that is all right>`), else the verb fails: a check that quietly stops running
//! is worse than one that fails.

use std::fmt;
use std::fs;

use crate::failure::{Context, Result};
use crate::workspace;

const LIST: &str = "xtask/skips.txt";

/// Something that did not run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Skip {
    /// Reads one line of output. Runners indent what a test printed, so leading blanks are allowed.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let said = line.trim().strip_prefix("SKIPPED")?;
        // "SKIPPED: why" and "SKIPPED" without a reason are skips too, and never on the list.
        let said = if said.is_empty() || said.starts_with([' ', ':']) { said.trim() } else { return None };
        let (name, why) = split(said);
        Some(Self { name: name.to_owned(), why: why.to_owned() })
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIPPED {}: {}", self.name, self.why)
    }
}

/// Prints the skips once more, at the end where they are seen, and fails in CI on one that is not listed.
pub(crate) fn settle(skips: &[Skip]) -> Result {
    for skip in skips {
        println!("{skip}");
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    if !in_ci || skips.is_empty() {
        return Ok(());
    }
    let path = workspace::root().join(LIST);
    let list = fs::read_to_string(&path).context(path.display())?;
    match unlisted(skips, &list).as_slice() {
        [] => Ok(()),
        names => Err(format!("skipped without being on the list in {LIST}: {}", names.join(", ")).into()),
    }
}

fn unlisted<'a>(skips: &'a [Skip], list: &str) -> Vec<&'a str> {
    let allowed: Vec<&str> = list
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| split(l).0)
        .collect();
    skips.iter().map(|skip| skip.name.as_str()).filter(|name| !allowed.contains(name)).collect()
}

/// Cuts at the first colon that ends a word: a name may hold `::`.
fn split(line: &str) -> (&str, &str) {
    if let Some(why) = line.strip_prefix(':') {
        return ("", why.trim());
    }
    line.split_once(": ").map_or((line.trim_end_matches(':'), ""), |(name, why)| (name.trim(), why.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(name: &str, why: &str) -> Skip {
        Skip { name: name.into(), why: why.into() }
    }

    #[test]
    fn a_skip_has_a_name_and_a_reason() {
        let line = "    SKIPPED node::huge_pages: no hugetlbfs: mount it";
        assert_eq!(Skip::parse(line), Some(skip("node::huge_pages", "no hugetlbfs: mount it")));
    }

    #[test]
    fn a_skip_without_a_name_or_a_reason_still_counts() {
        assert_eq!(Skip::parse("SKIPPED: no GPU"), Some(skip("", "no GPU")));
        assert_eq!(Skip::parse("SKIPPED hbm"), Some(skip("hbm", "")));
        assert_eq!(Skip::parse("SKIPPED"), Some(skip("", "")));
    }

    #[test]
    fn other_lines_are_no_skips() {
        assert_eq!(Skip::parse("test skipped ... ok"), None);
        assert_eq!(Skip::parse("it was SKIPPED by hand: x"), None);
        assert_eq!(Skip::parse("SKIPPEDX y: z"), None);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let skip = skip("miri", "no nightly");
        assert_eq!(Skip::parse(&skip.to_string()), Some(skip));
    }

    #[test]
    fn only_listed_names_pass() {
        let list = "# none of these matter\n\nmiri: optional, nightly only\nhbm\n";
        let skips = [skip("miri", "no nightly"), skip("hbm", ""), skip("shm", "small"), skip("", "no GPU")];
        assert_eq!(unlisted(&skips, list), ["shm", ""]);
    }

    #[test]
    fn the_committed_list_gives_a_reason_for_each_entry() {
        let list = fs::read_to_string(workspace::root().join(LIST)).unwrap();
        for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(!split(line).1.is_empty(), "{line}");
        }
    }
}

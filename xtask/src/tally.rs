//! What a run of tests came to, read off the summary lines of cargo-nextest, of Rust's own test harness or of pytest.

use std::ops::AddAssign;

use crate::skips::Skip;

/// Whose output is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// cargo-nextest, which shows the harness's summary of each test within its own.
    Nextest,
    /// `cargo test`: one summary for each binary.
    Harness,
    /// pytest, which counts what it skips apart from what passed.
    Pytest,
}

/// Counts of tests, summed up over all binaries of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Left out by `#[ignore]` or an `ignore` fence: we have none, so each is an error.
    pub(crate) ignored: u64,
    /// Passed as far as the harness knows, but said that they did not run.
    pub(crate) skips: Vec<Skip>,
}

impl Tally {
    /// Takes note of one line of a runner's output.
    pub(crate) fn note(&mut self, runner: Runner, line: &str) {
        if let Some(skip) = Skip::parse(line) {
            self.skips.push(skip);
            return;
        }
        let counts = match runner {
            Runner::Nextest => nextest_summary(line),
            Runner::Harness => harness_summary(line),
            Runner::Pytest => pytest_summary(line),
        };
        *self += counts.unwrap_or_default();
    }

    /// The one plain line at the end. A test that said SKIPPED counts as skipped, not as passed.
    pub(crate) fn line(&self) -> String {
        let skipped = self.skips.len() as u64;
        let passed = self.passed.saturating_sub(skipped);
        format!("{passed} passed, {} failed, {} skipped", self.failed, skipped + self.ignored)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skips.extend(other.skips);
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn harness_summary(line: &str) -> Option<Tally> {
    let (_verdict, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    Some(sum(counts.split(';')))
}

/// `Summary [   0.012s] 6 tests run: 4 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 2 skipped`
fn nextest_summary(line: &str) -> Option<Tally> {
    let line = line.trim();
    let (_run, counts) = line.strip_prefix("Summary [")?.split_once(" run: ")?;
    // Remarks in parentheses hold commas of their own.
    let mut depth = 0;
    let plain: String = counts
        .chars()
        .filter(|&c| {
            depth += i32::from(c == '(');
            let keep = depth == 0;
            depth -= i32::from(c == ')');
            keep
        })
        .collect();
    Some(sum(plain.split(',')))
}

/// `===== 1 failed, 5 passed, 1 skipped, 2 deselected in 3.21s =====`
fn pytest_summary(line: &str) -> Option<Tally> {
    let line = line.trim_matches(['=', ' ']);
    let (counts, time) = line.rsplit_once(" in ")?;
    if !time.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let tally = sum(counts.split(','));
    // Its skips have been said one by one, and count as passed until `line` takes them off.
    Some(Tally { passed: tally.passed + tally.ignored, ignored: 0, ..tally })
}

fn sum<'a>(counts: impl Iterator<Item = &'a str>) -> Tally {
    let mut tally = Tally::default();
    for (count, what) in counts.filter_map(|part| part.trim().split_once(' ')) {
        let Ok(count) = count.parse::<u64>() else { continue };
        match what.trim() {
            "passed" => tally.passed += count,
            "ignored" | "skipped" => tally.ignored += count,
            "measured" | "filtered out" | "deselected" | "warning" | "warnings" => {}
            // failed, timed out, exec failed: whatever is no success is a failure.
            _ => tally.failed += count,
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::Runner::{Harness, Nextest, Pytest};
    use super::*;

    fn noted(runner: Runner, lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.note(runner, line));
        tally
    }

    #[test]
    fn the_harness_summary_is_read() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(noted(Harness, &[line]), Tally { passed: 5, failed: 2, ignored: 1, skips: vec![] });
    }

    #[test]
    fn the_nextest_summary_is_read() {
        let line = "     Summary [   0.012s] 7 tests run: 4 passed (1 slow, 1 leaky), 1 failed, 2 timed out, 3 skipped";
        assert_eq!(noted(Nextest, &[line]), Tally { passed: 4, failed: 3, ignored: 3, skips: vec![] });
    }

    #[test]
    fn a_single_test_is_read() {
        assert_eq!(noted(Nextest, &["Summary [   0.003s] 1 test run: 1 passed, 0 skipped"]).passed, 1);
    }

    #[test]
    fn the_summary_of_pytest_is_read() {
        let lines = [
            "SKIPPED test_a.py::test_torch: no torch",
            "=== 1 failed, 5 passed, 1 skipped, 2 deselected, 1 error, 3 warnings in 73.21s (0:01:13) ===",
        ];
        let tally = noted(Pytest, &lines);
        assert_eq!(tally.line(), "5 passed, 2 failed, 1 skipped");
        assert_eq!(tally.ignored, 0);
    }

    #[test]
    fn what_nextest_shows_of_a_test_is_not_counted_again() {
        let tally = noted(
            Nextest,
            &[
                "    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                "     Summary [   0.003s] 1 test run: 1 passed, 0 skipped",
            ],
        );
        assert_eq!(tally.line(), "1 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn binaries_add_up_and_a_skip_is_not_a_pass() {
        let tally = noted(
            Harness,
            &[
                "running 3 tests",
                "    SKIPPED hbm: no GPU",
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            ],
        );
        assert_eq!(tally.line(), "4 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn other_lines_are_no_summary() {
        for runner in [Nextest, Harness, Pytest] {
            assert_eq!(noted(runner, &["failures:", "test result", "Summary of changes"]), Tally::default());
        }
    }
}

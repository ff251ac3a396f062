//! Reads from a test runner's output how many tests ran, and what it says of those that failed: cargo's, pytest's, unittest's and node's.

use std::{collections::BTreeSet, ops::AddAssign};

/// What runners write where a test failed or does not end.
const SIGNS: [&str; 8] = [
    "... FAILED",
    "panicked at",
    "has been running for over",
    "FAIL: ",
    "ERROR: ",
    "FAILED ",
    "not ok ",
    "error:",
];
/// Lines below a sign that belong to it, such as a panic's message.
const LINES_BELOW: usize = 3;
/// The runner's own last words.
const LAST_LINES: usize = 10;

/// How many tests of a suite passed, failed and were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ran and held.
    pub passed: usize,
    /// Ran and did not hold.
    pub failed: usize,
    /// Did not run.
    pub skipped: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Adds up all closing lines that `text` has.
pub fn read(text: &str) -> Counts {
    let mut total = Counts::default();
    let mut unittest_ran = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test result:") {
            total += worded(rest, "passed", "failed", "ignored");
        } else if is_pytest(line) {
            total += pytest(line);
        } else if let Some(rest) = line.strip_prefix("Ran ").filter(|rest| rest.contains(" test")) {
            unittest_ran = first_number(rest);
        } else if let Some(ran) =
            unittest_ran.filter(|_| line.starts_with("OK") || line.starts_with("FAILED"))
        {
            total += unittest(line, ran);
            unittest_ran = None;
        } else {
            total += node(line);
        }
    }
    total
}

/// Lines that tell what failed, and the last ones; at most `most` of them, in their order.
pub fn telling(text: &str, most: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let signs = (0..lines.len()).filter(|&at| SIGNS.iter().any(|sign| lines[at].contains(sign)));
    let mut chosen: BTreeSet<usize> = signs.flat_map(|at| at..=at + LINES_BELOW).collect();
    let first_of_last = lines.len().saturating_sub(LAST_LINES);
    chosen.retain(|&at| at < first_of_last);
    let end = first_of_last..lines.len();
    let before = chosen.into_iter().take(most.saturating_sub(end.len()));
    before.chain(end).map(|at| lines[at].to_owned()).collect()
}

fn first_number(text: &str) -> Option<usize> {
    text.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

/// The number before `word`, as in "3 passed".
fn before(line: &str, word: &str) -> usize {
    line.split([';', ',', '.'])
        .filter_map(|part| part.trim().trim_matches('=').trim().split_once(' '))
        .find(|(_, rest)| rest.starts_with(word))
        .map_or(0, |(number, _)| number.parse().unwrap_or(0))
}

fn worded(line: &str, passed: &str, failed: &str, skipped: &str) -> Counts {
    Counts { passed: before(line, passed), failed: before(line, failed), skipped: before(line, skipped) }
}

/// "12 passed, 1 failed in 3.20s", with or without a frame of `=`.
fn is_pytest(line: &str) -> bool {
    let line = line.trim_matches('=').trim();
    let seconds = line
        .rsplit_once(" in ")
        .is_some_and(|(_, time)| time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('s'));
    seconds
        && line.starts_with(|c: char| c.is_ascii_digit())
        && ["passed", "failed", "error", "skipped"].iter().any(|word| line.contains(word))
}

fn pytest(line: &str) -> Counts {
    let mut counts = worded(line, "passed", "failed", "skipped");
    counts.failed += before(line, "error");
    counts
}

/// The number after `name=`, as in "FAILED (failures=1, errors=2)".
fn assigned(line: &str, name: &str) -> usize {
    line.split_once(&format!("{name}=")).and_then(|(_, rest)| first_number(rest)).unwrap_or(0)
}

fn unittest(line: &str, ran: usize) -> Counts {
    let failed = ["(failures", " failures", "errors", "unexpected successes"]
        .iter()
        .map(|name| assigned(line, name))
        .sum();
    let skipped = assigned(line, "skipped");
    Counts { passed: ran.saturating_sub(failed + skipped), failed, skipped }
}

fn node(line: &str) -> Counts {
    let mut counts = Counts::default();
    let Some(rest) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) else { return counts };
    let Some((word, number)) = rest.split_once(' ') else { return counts };
    let Ok(number) = number.parse() else { return counts };
    match word {
        "pass" => counts.passed = number,
        "fail" => counts.failed = number,
        "skipped" => counts.skipped = number,
        _ => {}
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, passed: usize, failed: usize, skipped: usize) {
        assert_eq!(read(text), Counts { passed, failed, skipped });
    }

    #[test]
    fn cargo() {
        check(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\ntest result: FAILED. 1 passed; 2 failed; 0 ignored;",
            4,
            2,
            1,
        );
    }

    #[test]
    fn pytest() {
        check("===== 2 failed, 12 passed, 1 skipped, 1 error in 3.20s =====", 12, 3, 1);
        check("============ 30 passed in 3.20s ============", 30, 0, 0);
        check("94 passed in 11.13s", 94, 0, 0);
        check("3 bytes in 2s", 0, 0, 0);
    }

    #[test]
    fn unittest() {
        check("Ran 42 tests in 1.2s\n\nOK (skipped=2)", 40, 0, 2);
        check("Ran 10 tests in 1.2s\n\nFAILED (failures=1, errors=2)", 7, 3, 0);
        check("Ran 1 test in 1.2s\n\nOK", 1, 0, 0);
    }

    #[test]
    fn what_failed_or_hangs_is_told_before_the_last_lines() {
        let passed = "test quick ... ok\n".repeat(30);
        let text = format!(
            "{passed}test slow has been running for over 60 seconds\n{passed}thread 'x' panicked at a.rs:1:\nleft\n"
        );
        let told = telling(&text, 15);
        assert_eq!(told.len(), 14);
        assert!(told[0].starts_with("test slow"), "{told:?}");
        assert_eq!(told[13], "left");
        assert_eq!(telling("one line", 15), ["one line"]);
    }

    #[test]
    fn node() {
        check("# pass 5\n# fail 1\n# cancelled 0\n# skipped 2", 5, 1, 2);
        check("ℹ pass 4\nℹ fail 0", 4, 0, 0);
    }
}

//! The report of `mlops doctor`: one line per check, and the fix.

use std::fmt;

use mlops_core::error::Exit;
use mlops_core::text::{WIDTH, clean};
use serde::Serialize;

use crate::output::{Report, wrap};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing to do.
    Ok,
    /// Works, but something may fail later.
    Warn,
    /// Commands will fail.
    Fail,
    /// Unknown, with the reason.
    NotChecked,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NotChecked => "not checked",
        }
    }

    /// The outcome as a colored word of a fixed width.
    fn shown(self) -> String {
        let word = console::style(format!("{:<11}", self.as_str()));
        match self {
            Self::Ok => word.green(),
            Self::Warn => word.yellow(),
            Self::Fail => word.red().bold(),
            Self::NotChecked => word.dim(),
        }
        .to_string()
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The subject.
    pub name: &'static str,
    /// The result.
    pub outcome: Outcome,
    /// What was found, or why nothing was checked.
    pub finding: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// True if it is about credentials, the account or the region.
    #[serde(skip)]
    pub(super) is_access: bool,
}

impl Check {
    fn new(name: &'static str, outcome: Outcome, finding: impl Into<String>) -> Self {
        Self {
            name,
            outcome,
            finding: finding.into(),
            fix: None,
            is_access: false,
        }
    }

    pub(super) fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self::new(name, Outcome::Ok, finding)
    }

    pub(super) fn warn(name: &'static str, finding: impl Into<String>) -> Self {
        Self::new(name, Outcome::Warn, finding)
    }

    pub(super) fn fail(name: &'static str, finding: impl Into<String>) -> Self {
        Self::new(name, Outcome::Fail, finding)
    }

    pub(super) fn not_checked(name: &'static str, reason: impl Into<String>) -> Self {
        Self::new(name, Outcome::NotChecked, reason)
    }

    /// Adds what to do.
    #[must_use]
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Marks a check of credentials, account or region.
    #[must_use]
    pub(super) fn of_access(mut self) -> Self {
        self.is_access = true;
        self
    }
}

/// All checks.
#[derive(Debug, Serialize)]
pub struct DoctorReport {
    checks: Vec<Check>,
    failed: usize,
    warnings: usize,
    not_checked: usize,
}

impl DoctorReport {
    /// Counts the outcomes.
    pub(super) fn new(checks: Vec<Check>) -> Self {
        let count = |outcome| {
            let checks = checks.iter();
            checks.filter(|check| check.outcome == outcome).count()
        };
        Self {
            failed: count(Outcome::Fail),
            warnings: count(Outcome::Warn),
            not_checked: count(Outcome::NotChecked),
            checks,
        }
    }
}

impl Report for DoctorReport {
    fn exit(&self) -> Exit {
        let mut failed = self
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Fail)
            .peekable();
        if failed.peek().is_none() {
            Exit::Done
        } else if failed.any(|check| check.is_access) {
            Exit::Credentials
        } else {
            Exit::Refused
        }
    }
}

/// The column at which findings start.
const COLUMN: usize = 32;

/// Splits a text into lines for the columns from [`COLUMN`] on.
fn wrapped(text: &str) -> Vec<String> {
    wrap(text, WIDTH - COLUMN)
}

impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mut lines = wrapped(&clean(&check.finding)).into_iter();
            let first = lines.next().unwrap_or_default();
            let head = format!("{} {:<19} {first}", check.outcome.shown(), check.name);
            writeln!(f, "{}", head.trim_end())?;
            let fix = check.fix.as_deref().map(|fix| format!("fix: {fix}"));
            let fix = fix.map(|fix| wrapped(&clean(&fix))).unwrap_or_default();
            for line in lines.chain(fix) {
                writeln!(f, "{:COLUMN$}{line}", "")?;
            }
        }
        writeln!(f)?;
        let counted = |count: usize, one: &str, more: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {more}")),
        };
        let parts: Vec<String> = [
            counted(self.failed, "check failed", "checks failed"),
            counted(self.warnings, "warning", "warnings"),
            counted(self.not_checked, "not checked", "not checked"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            writeln!(f, "everything is ok")
        } else if self.failed == 0 {
            writeln!(f, "nothing failed; {}", parts.join(", "))
        } else {
            writeln!(f, "{}", parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(checks: Vec<Check>) -> Exit {
        DoctorReport::new(checks).exit()
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_check() {
        let ok = Check::ok("git", "2.43");
        let unknown = Check::not_checked("drift", "no stacks");
        let failed = Check::fail("python", "none");
        let access = Check::fail("credentials", "expired").of_access();
        let warn = Check::warn("clock", "off").of_access();
        assert_eq!(exit(vec![ok.clone(), unknown, warn]), Exit::Done);
        assert_eq!(exit(vec![ok, failed.clone()]), Exit::Refused);
        assert_eq!(exit(vec![failed, access]), Exit::Credentials);
    }

    #[test]
    fn every_line_fits_80_columns_and_long_words_stay_whole() {
        let long = format!("see https://example.com/{}", "x".repeat(60));
        let check = Check::fail("python", "word ".repeat(40)).fix(&long);
        let shown = DoctorReport::new(vec![check]).to_string();
        let shown = console::strip_ansi_codes(&shown).into_owned();
        for line in shown.lines().filter(|line| !line.contains("https")) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(shown.contains(&"x".repeat(60)), "{shown}");
        assert!(shown.ends_with("1 check failed\n"), "{shown}");
    }
}

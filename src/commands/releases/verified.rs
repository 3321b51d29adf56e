//! The report of `mlops releases verify`.

use std::fmt;

use mlops_core::error::Exit;
use mlops_core::names::Version;
use mlops_core::text::clean;
use serde::Serialize;

use crate::releases::sample::SampleAnswer;
use crate::releases::verify::Check;

/// The result of a verification.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The release.
    pub release: u32,
    /// The version that it serves.
    pub version: Version,
    /// Whether everything matches.
    pub matches: bool,
    /// What was checked.
    pub checks: Vec<Check>,
    /// The sample and its prediction, with `--record`; null if mlops.toml names no sample.
    pub sample: Option<SampleAnswer>,
}

impl Verified {
    /// Returns the exit code.
    pub fn exit(&self) -> Exit {
        if self.matches {
            Exit::Done
        } else {
            Exit::Refused
        }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let verdict = match (check.problems.is_empty(), check.skipped) {
                (true, false) => "ok",
                (true, true) => "-",
                (false, _) => "CHANGED",
            };
            writeln!(
                f,
                "{verdict:<8} {:<10} {}",
                check.what,
                clean(&check.detail)
            )?;
            for problem in &check.problems {
                writeln!(f, "         {}", clean(problem))?;
            }
        }
        if let Some(sample) = &self.sample {
            let (answer, file) = (clean(&sample.answer), sample.file.display());
            writeln!(f, "{:<8} {:<10} {answer} for {file}", "ok", "prediction")?;
        }
        let wrong = self
            .checks
            .iter()
            .filter(|check| !check.problems.is_empty())
            .count();
        if wrong == 0 {
            return writeln!(f, "Release {} is unchanged.", self.release);
        }
        writeln!(
            f,
            "Release {} is not what it was: {wrong} of {} checks failed.",
            self.release,
            self.checks.len()
        )
    }
}

//! How the model of a run compares with another version: the part of a run's record that
//! `mlops models compare --image --record` adds.

use std::fmt;

use mlops_core::names::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Why a version was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is the newest version from the branch's previous image.
    Previous,
    /// The endpoint serves it.
    Live,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Previous => "previous image",
            Self::Live => "live",
        })
    }
}

/// The metrics of a run, judged against those of another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Why it was compared with this version.
    pub with: Role,
    /// The other version.
    pub version: Version,
    /// The metrics in which the run is better.
    pub better: Vec<String>,
    /// The metrics in which the run is worse.
    pub worse: Vec<String>,
    /// The metrics that are equal.
    pub same: Vec<String>,
    /// Whether both were measured on the same version of the data; null if one is unknown.
    pub same_data: Option<bool>,
}

impl Compared {
    /// Replaces the names of metrics by their number.
    pub(super) fn shorten(&mut self) {
        for names in [&mut self.better, &mut self.worse, &mut self.same] {
            if names.len() > 1 {
                *names = vec![format!("{} metrics", names.len())];
            }
        }
    }
}

impl fmt::Display for Compared {
    /// `version 2 (previous image): better in rmse; worse in r2; measured on other data`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let judged = [
            ("better", &self.better),
            ("worse", &self.worse),
            ("the same", &self.same),
        ];
        let judged = judged.into_iter().filter(|(_, names)| !names.is_empty());
        let mut parts: Vec<String> = judged
            .map(|(word, names)| format!("{word} in {}", names.join(", ")))
            .collect();
        if parts.is_empty() {
            parts.push("no metric was judged".to_owned());
        }
        if self.same_data == Some(false) {
            parts.push("measured on other data".to_owned());
        }
        write!(
            f,
            "version {} ({}): {}",
            self.version,
            self.with,
            parts.join("; ")
        )
    }
}

/// Deserializes a value, or returns the default if another version of `mlops` wrote it differently.
pub(super) fn readable_or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_one_sentence() {
        let mut compared = Compared {
            with: Role::Previous,
            version: Version(2),
            better: vec!["rmse".to_owned(), "mae".to_owned()],
            worse: vec!["r2".to_owned()],
            same: Vec::new(),
            same_data: Some(false),
        };
        assert_eq!(
            compared.to_string(),
            "version 2 (previous image): better in rmse, mae; worse in r2; measured on other data"
        );
        compared.shorten();
        compared.same_data = None;
        assert_eq!(
            compared.to_string(),
            "version 2 (previous image): better in 2 metrics; worse in r2"
        );
        (compared.better, compared.worse) = (Vec::new(), Vec::new());
        compared.with = Role::Live;
        assert_eq!(
            compared.to_string(),
            "version 2 (live): no metric was judged"
        );
    }
}

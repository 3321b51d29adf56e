//! Why a run is to start.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Maximum length of the text of a reason: that of a variable of CodePipeline is 1,000.
const LONGEST: usize = 200;

/// The origin of a request for a retraining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonKind {
    /// An alarm: production data has drifted.
    Drift,
    /// A new version of the data set.
    Data,
    /// A schedule.
    Schedule,
    /// A person.
    Manual,
}

impl ReasonKind {
    /// The kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Data => "data",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        }
    }
}

/// Why a run is to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The origin of the request.
    pub kind: ReasonKind,
    /// The alarm, the version of the data, the schedule's time or the note.
    pub detail: String,
    /// The id of the event: two messages with the same one are one request.
    pub event: String,
}

impl Reason {
    /// A reason. Its texts keep only characters that need no quotation in JSON or a shell: they become a variable of the
    /// pipeline, which a build's environment contains.
    pub fn new(kind: ReasonKind, detail: &str, event: &str) -> Self {
        Self {
            kind,
            detail: plain(detail),
            event: plain(event),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

/// Keeps the characters that need no quotation in JSON or a shell, at most 200.
pub fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._:/@+,=-".contains(c);
    text.chars()
        .take(LONGEST)
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_leave_its_variable() {
        let reason = Reason::new(ReasonKind::Manual, "a\"}, {\"name\": \"$(rm)", "e");
        assert_eq!(reason.detail, "a__, __name_: ___rm_");
        assert_eq!(
            Reason::new(ReasonKind::Manual, &"x".repeat(5000), "e")
                .detail
                .len(),
            LONGEST
        );
    }
}

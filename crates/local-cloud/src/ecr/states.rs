//! The states of ECR's images, scans and previews. Responses have their names as text.

use serde::{Deserialize, Serialize};

/// The status of an image scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ScanStatus {
    Complete,
    FindingsUnavailable,
}

/// The status of a preview of a life-cycle policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum PreviewStatus {
    InProgress,
    Complete,
}

/// The status of an image. In a filter, `Any` is every status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ImageStatus {
    Active,
    Any,
    /// A status that images of the local cloud never have.
    #[serde(other)]
    Other,
}

/// Whether a filter selects images with tags or without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TagStatus {
    Tagged,
    Untagged,
    #[default]
    #[serde(other)]
    Any,
}

impl TagStatus {
    /// True if the filter selects an image that has tags, or has none.
    pub(super) fn selects(self, has_tags: bool) -> bool {
        match self {
            Self::Tagged => has_tags,
            Self::Untagged => !has_tags,
            Self::Any => true,
        }
    }
}

//! Pages of lists.

use serde::Deserialize;

use crate::api::{ApiError, form};

/// Maximum and default number of items on a page.
pub(super) const PAGE: i64 = 100;

/// The members that select a page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Selection {
    pub(super) name_prefix: Option<String>,
    pub(super) next_token: Option<String>,
    #[serde(default, deserialize_with = "form::whole")]
    max_results: Option<i64>,
}

impl Selection {
    /// The number of items on a page.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.max_results.unwrap_or(PAGE)).unwrap_or_default()
    }

    /// True for a name with the prefix.
    pub(super) fn includes(&self, name: &str) -> bool {
        let prefix = self.name_prefix.as_deref().unwrap_or_default();
        name.starts_with(prefix)
    }
}

/// The error for a token of another list.
pub(super) fn invalid_token() -> ApiError {
    ApiError::validation("Invalid NextToken.")
}
